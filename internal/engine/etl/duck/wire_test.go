package duck_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// What one side takes, it can say again, and Check never fails in another way than by
// an error.
func FuzzRequest(f *testing.F) {
	for _, line := range []string{
		`{"id":1,"open":{"memory":268435456,"temp":0,"threads":2,"dir":"/tmp/x"}}`,
		`{"id":2,"files":1,"input":{"relation":"r","columns":[{"name":"a","type":"numeric(5,2)"}],"format":"copy","streamed":true}}`,
		`{"id":3,"step":{"name":"s","sql":"select 1"}}`,
		`{"id":4,"files":1,"output":{"relation":"s","format":"parquet"}}`,
		`{"id":5,"look":{"relation":"s","rows":10,"count":true}}`,
		`{"id":6,"set":{"parameters":[{"name":"p","type":"text","value":null}]}}`,
		`{"id":7,"cancel":6}`, `{"id":8,"reset":true}`, `{"id":9}`, `{}`, `{"id":1}{"id":2}`, `{"id":1,"nobody":1}`, `[]`, ``,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var req duck.Request
		if err := duck.NewLines(strings.NewReader(line)).Next(&req); err != nil {
			return
		}
		if req.Check() != nil {
			return
		}
		var again bytes.Buffer
		if err := duck.WriteLine(&again, &req); err != nil {
			t.Fatal(err)
		}
		var back duck.Request
		if err := duck.NewLines(&again).Next(&back); err != nil {
			t.Fatal(err)
		}
		if back.Check() != nil || back.ID != req.ID || back.Files != req.Files || !reflect.DeepEqual(back.Step, req.Step) || !reflect.DeepEqual(back.Look, req.Look) {
			t.Errorf("%s came back as %+v", line, back)
		}
	})
}

func TestLines(t *testing.T) {
	var r duck.Response
	lines := duck.NewLines(strings.NewReader("{\"id\":1}\n{\"id\":2,\"rows\":3}\n"))
	for want := uint64(1); want <= 2; want++ {
		if err := lines.Next(&r); err != nil || r.ID != want {
			t.Errorf("got %+v, %v; want %d", r, err, want)
		}
	}
	if err := lines.Next(&r); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
	long := io.MultiReader(strings.NewReader(`{"id":1,"value":"`), &zeros{n: duck.MaxMessage})
	if err := duck.NewLines(long).Next(&r); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a line without an end: got %v, want an error", err)
	}
}

// zeros is a long text.
type zeros struct{ n int }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n <= 0 {
		return 0, io.EOF
	}
	for i := range p {
		p[i] = '0'
	}
	z.n -= len(p)
	return len(p), nil
}
