package sqlite

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
)

// FuzzProgress compares what is read without a decoder with what a decoder
// reads.
func FuzzProgress(f *testing.F) {
	for _, s := range []string{
		`{"phase":"files","done_bytes":1,"total_bytes":20,"done_files":0,"total_files":4,"added_bytes":123456789012345678}`,
		`{"phase":"a\"b","done_bytes":1,"total_bytes":2,"done_files":3,"total_files":4,"added_bytes":5}`,
		`{"phase":"ß","done_bytes":1,"total_bytes":2,"done_files":3,"total_files":4,"added_bytes":5}`,
		`{"phase":"","done_bytes":01,"total_bytes":2,"done_files":3,"total_files":4,"added_bytes":5}`,
		`{"phase":"","done_bytes":-1,"total_bytes":2,"done_files":3,"total_files":4,"added_bytes":5}`,
		`{"phase":"","done_bytes":1,"total_bytes":2,"done_files":3,"total_files":4,"added_bytes":9223372036854775808}`,
		`{"phase":"","done_bytes":1,"total_bytes":2,"done_files":3,"total_files":4,"added_bytes":5} `,
		`{"phase":"","done_bytes":,"total_bytes":2,"done_files":3,"total_files":4,"added_bytes":5}`,
		`{"phase":"done"}`, `{}`, ``, `{"phase":"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := holdfast.Progress{Phase: "of the row before", DoneBytes: 7}
		var want holdfast.Progress
		gotErr, wantErr := progress{&got}.Scan(s), json.Unmarshal([]byte(s), &want)
		if (gotErr == nil) != (wantErr == nil) || wantErr == nil && got != want {
			t.Errorf("%s: got %+v and error %v, want %+v and error %v", s, got, gotErr, want, wantErr)
		}
	})
}

// TestProgressIsPlain finds what Value writes in the form that is read fast.
func TestProgressIsPlain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		number := rapid.Int64Range(0, 1e17)
		want := holdfast.Progress{
			Phase: rapid.StringMatching(`[a-z ]*`).Draw(rt, "phase"), DoneBytes: number.Draw(rt, "done bytes"), TotalBytes: number.Draw(rt, "total bytes"),
			DoneFiles: number.Draw(rt, "done files"), TotalFiles: number.Draw(rt, "total files"), AddedBytes: number.Draw(rt, "added bytes"),
		}
		v, err := progress{&want}.Value()
		if err != nil {
			rt.Fatal(err)
		}
		var got holdfast.Progress
		if text, ok := v.(string); !ok || !(progress{&got}).plain(text) || got != want {
			rt.Errorf("%v: got %+v, want %+v", v, got, want)
		}
	})
}
