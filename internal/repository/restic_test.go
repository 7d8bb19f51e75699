package repository

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// noise returns bytes that do not compress, the same for the same seed.
func noise(n int, seed uint64) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// text returns bytes that compress.
func text(n int, seed uint64) []byte {
	var b bytes.Buffer
	r := rand.New(rand.NewPCG(seed, 1))
	for b.Len() < n {
		fmt.Fprintf(&b, "row %d of table %d; ", r.IntN(1000), seed)
	}
	return b.Bytes()[:n]
}

// oddSet has names and sizes that break programs.
func oddSet() set {
	s := set{
		"pgdata":                        directory(),
		"pgdata/empty":                  directory(),
		"pgdata/empty file":             file(nil),
		"pgdata/quote\"s":               file([]byte("quotes")),
		"pgdata/back\\slash":            file([]byte("backslash")),
		"pgdata/new\nline\ttab":         file([]byte("control")),
		"pgdata/invalid \xff\xfe utf-8": file([]byte("bytes")),
		"pgdata/grüße 漢字 🐘":             file([]byte("unicode")),
		"pgdata/\u2028separator\u00ad":  file([]byte("unprintable")),
		"pgdata/<html>&amp;":            file([]byte("html")),
		"pgdata/a-b":                    file([]byte("sorts before a/")),
		"pgdata/a":                      directory(),
		"pgdata/a/b":                    file([]byte("sorts after a-b")),
		"pgdata/link":                   symlink("../somewhere/else"),
		"pgdata/zeros":                  file(make([]byte, 3*blockSize+12345)),
		"missing/parents/here":          file([]byte("x")),
	}
	for _, border := range []int{0, 8192, sliceSize, wholeFile, blockSize, 2 * blockSize, taskBlocks * blockSize} {
		for _, d := range []int{-1, 0, 1} {
			if n := border + d; n >= 0 {
				s[fmt.Sprintf("pgdata/noise %d", n)] = file(noise(n, uint64(n)))
				s[fmt.Sprintf("pgdata/text %d", n)] = file(text(n, uint64(n)))
			}
		}
	}
	return s
}

func TestResticReadsWhatWeWrite(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	want := oddSet()
	id := backUp(t, r, want)
	compare(t, readSet(t, r, id), want)

	restic(t, dir, "check", "--read-data")
	var list []struct {
		ID       string   `json:"id"`
		Hostname string   `json:"hostname"`
		Tags     []string `json:"tags"`
		Paths    []string `json:"paths"`
	}
	if err := json.Unmarshal([]byte(restic(t, dir, "snapshots", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].ID != id || list[0].Hostname != "testhost" || list[0].Tags[0] != "set=1001" || list[0].Paths[0] != "/pgdata" {
		t.Errorf("restic lists %+v", list)
	}
	to := t.TempDir()
	restic(t, dir, "restore", id, "--target", to)
	compare(t, readDisk(t, to), want)
}

// readDisk reads a directory as a set.
func readDisk(t testing.TB, dir string) set {
	t.Helper()
	got := set{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n := testNode{mode: info.Mode()}
		switch {
		case n.mode.IsRegular():
			n.data, err = os.ReadFile(p)
		case n.mode&fs.ModeSymlink != 0:
			n.link, err = os.Readlink(p)
		}
		got[p[len(dir)+1:]] = n
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// writeDisk writes a set to a directory.
func writeDisk(t testing.TB, dir string, s set) {
	t.Helper()
	for p, n := range s {
		name := filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case n.mode.IsDir():
			err = os.MkdirAll(name, 0o700)
		case n.mode.IsRegular():
			err = os.WriteFile(name, n.data, 0o600)
		default:
			err = os.Symlink(n.link, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for p, n := range s {
		if n.mode&fs.ModeSymlink == 0 {
			if err := os.Chmod(filepath.Join(dir, p), n.mode.Perm()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestWeReadWhatResticWrites(t *testing.T) {
	t.Parallel()
	want := oddSet()
	src := filepath.Join(t.TempDir(), "src")
	writeDisk(t, src, want)
	for _, c := range []struct {
		name   string
		init   []string
		backup []string
	}{
		{"compressed", nil, []string{"--compression", "auto"}},
		{"uncompressed", nil, []string{"--compression", "off"}},
		{"version 1", []string{"--repository-version", "1"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "repo")
			restic(t, dir, append([]string{"init"}, c.init...)...)
			restic(t, dir, append([]string{"backup", src}, c.backup...)...)
			r := openDir(t, dir)
			all, err := r.Snapshots(t.Context())
			if err != nil || len(all) != 1 {
				t.Fatalf("got %d snapshots, error %v", len(all), err)
			}
			got := set{}
			for p, n := range readSet(t, r, all[0].ID) {
				if rel, err := filepath.Rel(src, "/"+p); err == nil && rel != "." && rel[0] != '.' {
					got[rel] = n
				}
			}
			compare(t, got, want)

			// And what we add to it, restic reads.
			more := set{"pgdata/more": file(text(700_000, 7)), "pgdata/grüße": file(nil)}
			id := backUp(t, r, more)
			restic(t, dir, "check", "--read-data")
			compare(t, readSet(t, r, id), more)
		})
	}
}
