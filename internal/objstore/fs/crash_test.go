package fs_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
)

// childDir, in the environment, makes the test's binary a writer of objects.
const childDir = "HOLDFAST_TEST_PUT_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := putUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// putUntilKilled puts objects, each named by the hash of its content, and prints
// every name whose Put has returned.
func putUntilKilled(dir string) error {
	b, err := fs.Open(dir)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(uint64(os.Getpid()), uint64(time.Now().UnixNano())))
	for {
		data := make([]byte, 1+random.IntN(3<<20))
		for i := 0; i < len(data); i += 4096 {
			data[i] = byte(random.Uint32())
		}
		name := nameOf(data)
		if err := b.Put(context.Background(), name, data); err != nil {
			return err
		}
		fmt.Println(name)
	}
}

func nameOf(data []byte) string {
	sum := sha256.Sum256(data)
	id := hex.EncodeToString(sum[:])
	return "data/" + id[:1] + "/" + id
}

var temporary = regexp.MustCompile(`-tmp-[0-9a-f]{16}$`)

func TestKilledWriterLeavesNoHalfObject(t *testing.T) {
	const enough = 5 // kills that left a temporary file: those hit a Put half-way
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	hits := 0
	for round := 0; hits < enough; round++ {
		if round == 200 {
			t.Fatalf("%d of %d kills hit a put half-way, want %d", hits, round, enough)
		}
		for _, name := range killWriter(t, dir, time.Duration(5+round%20)*time.Millisecond) {
			acknowledged[name] = true
		}
		temps := findTemps(t, dir)
		if len(temps) > hits {
			hits = len(temps)
		}
	}

	b := open(t, dir)
	listed := map[string]bool{}
	err := b.List(t.Context(), "", func(i objstore.Info) error {
		listed[i.Name] = true
		data, err := objstore.ReadAll(t.Context(), b, i.Name, 1<<30)
		if err != nil {
			return err
		}
		if got := nameOf(data); got != i.Name {
			t.Errorf("object %s is not whole: it holds %s", i.Name, got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range acknowledged {
		if !listed[name] {
			t.Errorf("object %s was acknowledged and is not there", name)
		}
	}
	if len(acknowledged) == 0 {
		t.Error("no writer lived long enough to put an object")
	}
	// What a dead writer left does not stand in the way of the same object.
	name := temporary.ReplaceAllString(findTemps(t, dir)[0], "")
	if err := b.Put(t.Context(), name, []byte("again")); err != nil {
		t.Errorf("put %s after its writer died: %v", name, err)
	}
}

// killWriter starts a writer, kills it some time after its first object, and
// returns the names that it acknowledged.
func killWriter(t *testing.T, dir string, after time.Duration) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the writer says nothing: %v\n%s", err, stderr.String())
	}
	time.Sleep(after)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if stderr.Len() > 0 {
		t.Fatalf("the writer failed: %s", stderr.String())
	}
	text := first + string(rest)
	return strings.Fields(text[:strings.LastIndexByte(text, '\n')])
}

// findTemps returns the names of all temporary files.
func findTemps(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && temporary.MatchString(path) {
			rel, _ := filepath.Rel(dir, path)
			all = append(all, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestTemporaryFilesAreNoObjects(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	put(t, b, "data/ab/abc", "x")
	old := filepath.Join(dir, "data/ab/abc-tmp-0123456789abcdef")
	young := filepath.Join(dir, "data/ab/abd-tmp-0123456789abcdef")
	for _, f := range []string{old, young} {
		if err := os.WriteFile(f, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	yesterday := time.Now().Add(-25 * time.Hour)
	if err := os.Chtimes(old, yesterday, yesterday); err != nil {
		t.Fatal(err)
	}
	if got := names(t, b); len(got) != 1 || got[0] != "data/ab/abc" {
		t.Errorf("got %q, want the object alone", got)
	}
	for _, name := range []string{"data/ab/abc-tmp-0123456789abcdef", "data/ab/abd-tmp-0123456789abcdef"} {
		_, err := b.Get(t.Context(), name, 0, -1)
		wantCode(t, "get "+name, err, holdfast.CodeInvalid)
		wantCode(t, "put "+name, b.Put(t.Context(), name, nil), holdfast.CodeInvalid)
		wantCode(t, "delete "+name, b.Delete(t.Context(), name), holdfast.CodeInvalid)
	}
	// The first put of a new bucket into the directory removes what is dead.
	put(t, open(t, dir), "data/ab/abe", "x")
	if got := findTemps(t, dir); len(got) != 1 || got[0] != "data/ab/abd-tmp-0123456789abcdef" {
		t.Errorf("got temporary files %q, want the young one alone", got)
	}
}
