package holdfast_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func TestParseLocation(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"file:///backup/main":                      "file:///backup/main",
		"file:///backup/m%61in":                    "file:///backup/main",
		"file:///backup/a%20b":                     "file:///backup/a%20b",
		"s3:https://s3.example.com/bucket":         "s3:https://s3.example.com/bucket",
		"s3:https://s3.example.com/bucket/":        "s3:https://s3.example.com/bucket",
		"s3:https://S3.example.com:443/bucket/a/":  "s3:https://s3.example.com/bucket/a",
		"s3:https://s3.example.com:9000/b_k/a/b c": "s3:https://s3.example.com:9000/b_k/a/b%20c",
		"s3:http://127.0.0.1:9000/bucket/p":        "s3:http://127.0.0.1:9000/bucket/p",
		"s3:http://localhost:80/bucket":            "s3:http://localhost/bucket",
		"s3:http://[::1]:9000/bucket/a%25b":        "s3:http://[::1]:9000/bucket/a%25b",
	} {
		l, err := holdfast.ParseLocation(in)
		if err != nil || l.String() != want {
			t.Errorf("%s: got %q and %v, want %q", in, l, err, want)
		}
		if again, err := holdfast.ParseLocation(l.String()); err != nil || again != l {
			t.Errorf("%s: reads back as %+v and %v, want %+v", l, again, err, l)
		}
	}
	for _, in := range []string{
		"", "/backup", "backup", "file:backup", "file://nas/backup", "file:///", "file:///a/../b", "file:///a?b=c", "file:///%zz", "mem:x",
		"s3:", "s3:bucket/prefix", "s3://bucket/prefix", "s3:https://s3.example.com", "s3:https://s3.example.com/", "s3:https:///bucket",
		"s3:ftp://s3.example.com/bucket", "s3:https://s3.example.com/bucket?x=y", "s3:https://s3.example.com/bucket#x", "s3:https://s3.example.com./bucket",
		"s3:https://s3.example.com/bucket//a", "s3:https://s3.example.com/bucket/../a", "s3:https://s3.example.com/bucket/./a",
		"s3:https://s3.example.com/bucket/a%00", "s3:https://s3.example.com/bucket/a%5Cb", "s3:https://s3.example.com/bucket/%ff", "s3:https://s3.example.com/-bucket",
		"s3:https://s3.example.com/bucket/" + strings.Repeat("x", 401), "s3:http://s3.example.com/bucket", "s3:http://10.0.0.1/bucket",
	} {
		if l, err := holdfast.ParseLocation(in); holdfast.ErrorCode(err) != holdfast.CodeInvalid || holdfast.ErrorHint(err) == "" {
			t.Errorf("%q: got %+v and %v, want that it is invalid, with a hint", in, l, err)
		}
	}
	_, err := holdfast.ParseLocation("s3:https://key:planted@s3.example.com/bucket")
	if err == nil || strings.Contains(err.Error(), "planted") {
		t.Errorf("got %v, want a refusal that does not show what may be a secret", err)
	}
}

func TestLocationsOverlap(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"file:///a", "file:///a", true},
		{"file:///a", "file:///a/b", true},
		{"file:///a", "file:///ab", false},
		{"file:///bucket", "s3:https://h/bucket", false},
		{"s3:https://h/bucket", "s3:https://h/bucket/a", true},
		{"s3:https://h/bucket/a", "s3:https://h/bucket/a/b", true},
		{"s3:https://h/bucket/a", "s3:https://h/bucket/ab", false},
		{"s3:https://h/bucket", "s3:https://h/bucket2", false},
		{"s3:https://h/bucket", "s3:https://i/bucket", false},
		{"s3:https://h/bucket", "s3:https://h:9000/bucket", false},
		{"s3:https://s3.amazonaws.com/bucket/a", "s3:https://s3.eu-central-1.amazonaws.com/bucket/a/b", true},
	} {
		a, errA := holdfast.ParseLocation(c.a)
		b, errB := holdfast.ParseLocation(c.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.Overlaps(b) != c.want || b.Overlaps(a) != c.want {
			t.Errorf("%s and %s: got %t and %t, want %t", c.a, c.b, a.Overlaps(b), b.Overlaps(a), c.want)
		}
	}
}
