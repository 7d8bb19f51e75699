package etl_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// lake is a prefix in a bucket of a real store.
type lake struct {
	*s3.Bucket
	cfg s3.Config
}

func newLake(t *testing.T, c s3.Config) lake {
	t.Helper()
	c.Prefix = "team/lake"
	b, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return lake{b, c}
}

const copyOrders = `
extract: [{name: a, connection: lake, file: {path: "in/*.csv", format: csv, fields: [{name: id, type: int}, {name: s, type: text}]}, incremental: {strategy: file}}]
load: [{from: a, connection: lake, output: {path: out/a, format: csv, max_kept: 2}}]
`

// order asks for an execution that reads and writes the bucket.
func (l lake) order(t testing.TB, definition string, execution holdfast.ExecutionID, log ...testkit.LogOption) engine.ETL {
	t.Helper()
	return engine.ETL{
		Installation: "here", Job: 1001, JobName: "test", Execution: execution, Fence: 1,
		Definition: "apiVersion: holdfast/etl/v1\nname: test\nparameters: {id: {type: text, property: lake.access_key}, secret_key: {type: text, required: true}}\n" +
			"connections: {lake: {bucket: {location: \"s3:http://" + l.cfg.Endpoint + "/" + l.cfg.Bucket + "/" + l.cfg.Prefix + "\", access_key: id, secret_key: secret_key, region: " + l.cfg.Region + "}}}\n" + definition,
		Properties: map[string]string{"lake.access_key": l.cfg.AccessKey, "secret_key": l.cfg.SecretKey.Reveal()},
		Report:     &enginetest.Report{}, Log: testkit.Logger(t, log...), Stop: make(chan struct{}),
	}
}

func (l lake) put(t testing.TB, name, text string) {
	t.Helper()
	if err := l.Put(t.Context(), name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func (l lake) list(t testing.TB, prefix string) (names []string) {
	t.Helper()
	err := l.List(t.Context(), prefix, func(i objstore.Info) error {
		names = append(names, strings.TrimPrefix(i.Name, prefix))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// newest is what a reader sees: the version that the manifest with the highest number
// names, and its rows, which are as the manifest says; version 0: none.
func (l lake) newest(t testing.TB, at string) (version int, prefix, rows string) {
	t.Helper()
	all := l.list(t, at+"/manifest-")
	if len(all) == 0 {
		return 0, "", ""
	}
	text, err := objstore.ReadAll(t.Context(), l, at+"/manifest-"+slices.Max(all), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var m struct {
		Version  int
		Prefix   string
		Manifest struct {
			Files []struct{ Name, SHA256 string }
		}
	}
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	for _, f := range m.Manifest.Files {
		content, err := objstore.ReadAll(t.Context(), l, at+"/"+m.Prefix+"/"+f.Name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != f.SHA256 {
			t.Errorf("%s is not what the manifest says", f.Name)
		}
		rows += strings.ReplaceAll(string(content), `"`, "") // of the names
	}
	return m.Version, m.Prefix, rows
}

func (l lake) want(t testing.TB, at string, version int, rows string) {
	t.Helper()
	if v, _, got := l.newest(t, at); v != version || got != rows {
		t.Errorf("%s: got version %d with %q, want %d with %q", at, v, got, version, rows)
	}
}

// TestBucket copies files of a bucket into versions of another prefix, a few at a time.
func TestBucket(t *testing.T) {
	t.Parallel()
	l := newLake(t, s3test.Start(t).LockedConfig(t))
	l.put(t, "in/1.csv", "1,one\n2,two\n")
	l.put(t, "in/2.csv", "3,three\n")
	l.put(t, "in/.hidden.csv", "bad")
	l.put(t, "in/below/3.csv", "bad")
	l.put(t, "inner.csv", "bad")

	req := l.order(t, copyOrders, 1001)
	req.Simulate = true
	if res := run(t, req); len(res.Flows) != 1 || res.Flows[0].Loaded != 3 {
		t.Errorf("simulated: got %+v", res.Flows)
	}
	if left := l.list(t, "out"); len(left) > 0 {
		t.Errorf("a simulation has written %v", left)
	}
	run(t, l.order(t, copyOrders, 1002))
	l.want(t, "out/a", 1, "id,s\n1,one\n2,two\n3,three\n")
	run(t, l.order(t, copyOrders, 1002)) // the same again, as after a lost answer
	run(t, l.order(t, copyOrders, 1003)) // nothing is new
	l.want(t, "out/a", 1, "id,s\n1,one\n2,two\n3,three\n")
	for i := range 3 {
		l.put(t, fmt.Sprintf("in/new%d.csv", i), fmt.Sprintf("%d,new\n", 10+i))
		run(t, l.order(t, copyOrders, holdfast.ExecutionID(1004+i)))
		l.want(t, "out/a", 2+i, fmt.Sprintf("id,s\n%d,new\n", 10+i))
	}
	versions := map[string]bool{}
	for _, name := range l.list(t, "out/a/v") {
		version, _, _ := strings.Cut(name, "-")
		versions[version] = true
	}
	if got := slices.Sorted(maps.Keys(versions)); !slices.Equal(got, []string{"000000003", "000000004"}) {
		t.Errorf("kept: got %v, want two versions", got)
	}

	p := etl.New(etl.Config{})
	counters, err := p.Counters(t.Context(), l.order(t, copyOrders, 0))
	if err != nil || len(counters) != 1 || !strings.Contains(counters[0].Value, "in/new2.csv") || counters[0].Execution != 1006 {
		t.Errorf("counters: got %+v, %v", counters, err)
	}
	if err := p.SetCounter(t.Context(), l.order(t, copyOrders, 0), "a", "a", ""); err != nil {
		t.Fatal(err)
	}
	run(t, l.order(t, copyOrders, 1007))
	l.want(t, "out/a", 5, "id,s\n1,one\n2,two\n3,three\n10,new\n11,new\n12,new\n")
	run(t, l.order(t, `
extract: [{name: a, connection: lake, file: {path: in/1.csv, format: csv, fields: [{name: id, type: int}, {name: s, type: text}]}}]
load: [{from: a, connection: lake, output: {path: out/p, format: parquet}}]
`, 1008))
	if _, _, rows := l.newest(t, "out/p"); !strings.HasPrefix(rows, "PAR1") {
		t.Errorf("got %q, want Parquet", rows)
	}
	preview, err := p.Preview(t.Context(), l.order(t, copyOrders, 0), 10)
	if err != nil || len(preview) == 0 || len(preview[0].Rows) != 2 {
		t.Errorf("preview: got %+v, %v, want the first file", preview, err)
	}
}

// TestBucketRefusals asks for what cannot be, and finds no secret in what is said.
func TestBucketRefusals(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	l := newLake(t, server.Config(t))
	l.put(t, "in/1.csv", "1,one\n")
	run(t, l.order(t, copyOrders, 1001))
	for name, c := range map[string]struct {
		change func(*engine.ETL)
		code   holdfast.Code
		words  []string
	}{
		"no secret": {func(r *engine.ETL) { delete(r.Properties, "lake.access_key") }, holdfast.CodeInvalid, []string{"lake.access_key", "--property-file"}},
		"wrong secret": {
			func(r *engine.ETL) { r.Properties["secret_key"] = "planted-secret" }, holdfast.CodeForbidden, []string{"access key"},
		},
		"no bucket": {
			func(r *engine.ETL) { r.Definition = strings.Replace(r.Definition, l.cfg.Bucket, "no-bucket", 1) }, holdfast.CodeInvalid, []string{"no bucket"},
		},
		"no object": {
			func(r *engine.ETL) { r.Definition = strings.Replace(r.Definition, "in/*.csv", "in/none.csv", 1) }, holdfast.CodeInvalid, []string{"in/none.csv does not exist"},
		},
		"too large": {
			func(r *engine.ETL) {
				r.Definition = strings.Replace(strings.Replace(r.Definition, "in/*.csv", "in/1.csv", 1), "format: csv,", "format: csv, max_size: 3,", 1)
				r.Execution = 0
			}, holdfast.CodeInvalid, []string{"larger than 3 bytes"},
		},
		"another job's": {func(r *engine.ETL) { r.Job = 1002 }, holdfast.CodeConflict, []string{"belongs to flow a of job 1001"}},
	} {
		req := l.order(t, copyOrders, 1002)
		if c.change(&req); req.Execution == 0 {
			req.Execution = 1003
			req.Definition = strings.Replace(req.Definition, "out/a", "out/other", 1)
		}
		_, err := etl.New(etl.Config{}).Run(t.Context(), req)
		if holdfast.ErrorCode(err) != c.code || strings.Contains(fmt.Sprint(err), "planted") {
			t.Errorf("%s: got %v, want %s", name, err, c.code)
		}
		wantError(t, err, c.code, c.words...)
	}
	l.want(t, "out/a", 1, "id,s\n1,one\n")
}

// TestBucketFences stops an execution at each of its steps, as a frozen process is, and
// lets another take over: the next fence, a release, or another execution. When it
// wakes up, it changes nothing.
func TestBucketFences(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for _, at := range []string{"claim", "booked", "uploaded", "committed"} {
		for _, by := range []string{"fence", "release", "execution", "identity"} {
			t.Run(at+" "+by, func(t *testing.T) {
				t.Parallel()
				l := newLake(t, server.Config(t))
				l.put(t, "in/1.csv", "1,one\n")
				reached, thaw := make(chan struct{}), make(chan struct{})
				ended := make(chan error, 1)
				go func() {
					p := etl.New(etl.Config{TempDir: os.TempDir(), Step: func(name string) {
						if name == at {
							close(reached)
							<-thaw
						}
					}})
					_, err := p.Run(context.WithoutCancel(t.Context()), l.order(t, copyOrders, 1001))
					ended <- err
				}()
				<-reached
				switch next := l.order(t, copyOrders, 1001); by {
				case "fence":
					next.Fence = 2
					run(t, next)
				case "identity":
					next.Identity = "again"
					run(t, next)
				case "execution":
					next.Execution = 1002
					run(t, next)
				case "release":
					if err := etl.New(etl.Config{}).Release(t.Context(), next); err != nil {
						t.Fatal(err)
					}
				}
				version, prefix, rows := l.newest(t, "out/a")
				close(thaw)
				select {
				case err := <-ended:
					if at != "committed" && !errors.Is(err, engine.ErrStale) {
						t.Errorf("the frozen one: got %v, want that it is stale", err)
					}
				case <-time.After(time.Minute):
					t.Fatal("the frozen one does not end")
				}
				if by == "release" && at != "committed" {
					if version != 0 {
						t.Errorf("got version %d of what was released", version)
					}
				} else {
					l.want(t, "out/a", 1, "id,s\n1,one\n")
				}
				if v, p, r := l.newest(t, "out/a"); v != version || p != prefix || r != rows {
					t.Errorf("the frozen one has changed what is visible: %d %s %q is now %d %s %q", version, prefix, rows, v, p, r)
				}
				// Once more: nothing is loaded twice, and what was left is gone.
				run(t, l.order(t, copyOrders, 1003))
				l.want(t, "out/a", 1, "id,s\n1,one\n")
				_, prefix, _ = l.newest(t, "out/a")
				for _, name := range l.list(t, "out/a/") {
					if !strings.HasPrefix(name, "manifest-") && !strings.HasPrefix(name, prefix+"/") {
						t.Errorf("%s is left", name)
					}
				}
			})
		}
	}
}

// TestBucketManyAtOnce lets executions run into each other: each file is loaded once, in
// whatever order they win.
func TestBucketManyAtOnce(t *testing.T) {
	t.Parallel()
	l := newLake(t, s3test.Start(t).Config(t))
	const definition = "\nextract: [{name: a, connection: lake, file: {path: \"in/*.csv\", format: csv, fields: [{name: id, type: int}]}, incremental: {strategy: file}}]\n" +
		"load: [{from: a, connection: lake, output: {path: out, format: csv}}]\n"
	var seen []string
	for round := range 2 {
		l.put(t, fmt.Sprintf("in/%d.csv", round), fmt.Sprintf("%d\n", round))
		done := make(chan error)
		for i := range 4 {
			go func() {
				_, err := etl.New(etl.Config{}).Run(context.WithoutCancel(t.Context()), l.order(t, definition, holdfast.ExecutionID(1001+10*round+i), testkit.Allow("")))
				done <- err
			}()
		}
		won := 0
		for range 4 {
			switch err := <-done; {
			case err == nil:
				won++
			case !errors.Is(err, engine.ErrStale) && holdfast.ErrorCode(err) != holdfast.CodeUnavailable:
				t.Errorf("got %v", err)
			}
		}
		if won == 0 { // each was outdated by another: the next attempt does it
			run(t, l.order(t, definition, holdfast.ExecutionID(1001+10*round+9)))
		}
		version, _, rows := l.newest(t, "out")
		if version != round+1 {
			t.Errorf("round %d: got version %d", round, version)
		}
		seen = append(seen, strings.TrimPrefix(rows, "id\n"))
	}
	if got := strings.Join(seen, ""); got != "0\n1\n" {
		t.Errorf("loaded: got %q", got)
	}
}
