package s3_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/objstoretest"
	"github.com/holdfast-backup/holdfast/internal/objstore/retry"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
)

func open(t *testing.T, c s3.Config) *s3.Bucket {
	t.Helper()
	b, err := s3.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestBucket(t *testing.T) {
	server := s3test.Start(t)
	for _, prefix := range []string{"", "backups/of shop"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
				t.Helper()
				c := server.Config(t)
				c.Prefix = prefix
				return retry.Wrap(open(t, c), retry.Options{First: time.Millisecond})
			})
		})
	}
}

// TestPrefixesAreApart lists what lies beside a prefix, and below one that begins
// with the same letters.
func TestPrefixesAreApart(t *testing.T) {
	c := s3test.Start(t).Config(t)
	for _, prefix := range []string{"", "a", "ab", "a/b"} {
		c.Prefix = prefix
		if err := open(t, c).Put(t.Context(), "one", []byte(prefix)); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string]string{"": "a/b/one a/one ab/one one", "a": "b/one one", "ab": "one", "a/b": "one"} {
		c.Prefix = prefix
		var names []string
		if err := open(t, c).List(t.Context(), "", func(i objstore.Info) error { names = append(names, i.Name); return nil }); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("prefix %q: got %q, want %q", prefix, got, want)
		}
	}
}

// TestManyObjects lists more than one page.
func TestManyObjects(t *testing.T) {
	server := s3test.Start(t)
	b := open(t, server.Config(t))
	const n = 2345
	for i := range n {
		if err := b.Put(t.Context(), "data/"+string(rune('a'+i%26))+"/"+strings.Repeat("x", i/26+1), nil); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	if err := b.List(t.Context(), "data/", func(objstore.Info) error { got++; return nil }); err != nil || got != n {
		t.Errorf("got %d objects, %v; want %d", got, err, n)
	}
}

func TestCheckConditions(t *testing.T) {
	b := open(t, s3test.Start(t).Config(t))
	if err := b.CheckConditions(t.Context(), "probe"); err != nil {
		t.Errorf("a server that knows conditions: %v", err)
	}
	if _, err := b.Stat(t.Context(), "probe"); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("the probe is left: %v", err)
	}
	// One that takes no notice of them.
	heedless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"d41d8cd98f00b204e9800998ecf8427e"`)
	}))
	defer heedless.Close()
	c := fakeConfig(heedless)
	if err := open(t, c).CheckConditions(t.Context(), "probe"); holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "overwrites") {
		t.Errorf("got %v, want that the server overwrites", err)
	}
}

func fakeConfig(s *httptest.Server) s3.Config {
	return s3.Config{
		Endpoint: strings.TrimPrefix(s.URL, "http://"), Plain: true, Region: "us-east-1", Bucket: "bucket", PathStyle: true,
		AccessKey: "KEY", SecretKey: holdfast.NewSecret("secret"),
	}
}

// TestRefusals asks real and feigned servers for what they refuse.
func TestRefusals(t *testing.T) {
	server := s3test.Start(t)
	good := server.Config(t)
	noBucket, wrongKey, wrongSecret := good, good, good
	noBucket.Bucket, wrongKey.AccessKey, wrongSecret.SecretKey = "nothing-there", "NOBODY", holdfast.NewSecret("wrong")
	wrongRegion := good
	wrongRegion.Region = "mars-1"
	closed := good
	closed.Endpoint = deadAddr(t)
	for name, c := range map[string]struct {
		cfg  s3.Config
		want holdfast.Code
	}{
		"no bucket":     {noBucket, holdfast.CodeInvalid},
		"unknown key":   {wrongKey, holdfast.CodeForbidden},
		"wrong secret":  {wrongSecret, holdfast.CodeForbidden},
		"wrong region":  {wrongRegion, holdfast.CodeForbidden},
		"nobody there":  {closed, holdfast.CodeUnavailable},
		"TLS where not": {func() s3.Config { c := good; c.Plain = false; return c }(), holdfast.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, c.cfg)
			putErr := b.Put(t.Context(), "a", []byte("x"))
			listErr := b.List(t.Context(), "", func(objstore.Info) error { return nil })
			_, readErr := objstore.ReadAll(t.Context(), b, "a", 1)
			for what, err := range map[string]error{"put": putErr, "list": listErr, "read": readErr} {
				if holdfast.ErrorCode(err) != c.want {
					t.Errorf("%s: got %v, want %s", what, err, c.want)
				}
				if strings.Contains(err.Error(), good.SecretKey.Reveal()) {
					t.Errorf("%s: the error shows the secret: %v", what, err)
				}
			}
		})
	}
	for name, c := range map[string]struct {
		status int
		code   string
		want   holdfast.Code
	}{
		"busy":         {503, "SlowDown", holdfast.CodeUnavailable},
		"broken":       {500, "InternalError", holdfast.CodeUnavailable},
		"other write":  {409, "ConditionalRequestConflict", holdfast.CodeUnavailable},
		"full":         {507, "XMinioStorageFull", holdfast.CodeExhausted},
		"quota":        {403, "QuotaExceeded", holdfast.CodeExhausted},
		"denied":       {403, "AccessDenied", holdfast.CodeForbidden},
		"clock":        {403, "RequestTimeTooSkewed", holdfast.CodeForbidden},
		"expired":      {400, "ExpiredToken", holdfast.CodeForbidden},
		"no such verb": {405, "MethodNotAllowed", holdfast.CodeInternal},
		"gateway":      {502, "", holdfast.CodeUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(c.status)
				if c.code != "" {
					_, _ = io.WriteString(w, "<Error><Code>"+c.code+"</Code><Message>no</Message></Error>")
				}
			}))
			defer fake.Close()
			if err := open(t, fakeConfig(fake)).Put(t.Context(), "a", []byte("x")); holdfast.ErrorCode(err) != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func deadAddr(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestTruncated reads from a server that promises more than it sends, and from one
// that falls silent.
func TestTruncated(t *testing.T) {
	for name, end := range map[string]func(*http.Request){
		"cut off": func(*http.Request) { panic(http.ErrAbortHandler) },
		"silent":  func(r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "1000")
				w.Header().Set("Last-Modified", "Sat, 21 Nov 2026 10:00:00 GMT")
				w.Header().Set("ETag", `"d41d8cd98f00b204e9800998ecf8427e"`)
				_, _ = w.Write(bytes.Repeat([]byte("x"), 500))
				w.(http.Flusher).Flush()
				end(r)
			}))
			defer fake.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			r, err := open(t, fakeConfig(fake)).Get(ctx, "a", 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err == nil || len(got) != 500 {
				t.Errorf("got %d bytes and %v, want 500 and an error", len(got), err)
			}
		})
	}
}

func TestConfig(t *testing.T) {
	good := s3.Config{Endpoint: "s3.example.com", Bucket: "b", AccessKey: "k", SecretKey: holdfast.NewSecret("s")}
	for name, spoil := range map[string]func(*s3.Config){
		"no endpoint":        func(c *s3.Config) { c.Endpoint = "" },
		"endpoint is a URL":  func(c *s3.Config) { c.Endpoint = "https://s3.example.com/" },
		"no bucket":          func(c *s3.Config) { c.Bucket = "" },
		"bucket with slash":  func(c *s3.Config) { c.Bucket = "a/b" },
		"no key":             func(c *s3.Config) { c.AccessKey = "" },
		"no secret":          func(c *s3.Config) { c.SecretKey = holdfast.Secret{} },
		"prefix with slash":  func(c *s3.Config) { c.Prefix = "a/" },
		"prefix climbs":      func(c *s3.Config) { c.Prefix = "a/../b" },
		"unknown encryption": func(c *s3.Config) { c.Encryption = "rot13" },
		"no certificates":    func(c *s3.Config) { c.CA = []byte("nothing") },
	} {
		c := good
		spoil(&c)
		if _, err := s3.Open(c); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v, want that it is invalid", name, err)
		}
	}
	for _, sse := range []string{"", "AES256", "aws:kms", "aws:kms:key-1"} {
		c := good
		c.Encryption = sse
		if _, err := s3.Open(c); err != nil {
			t.Errorf("encryption %q: %v", sse, err)
		}
	}
}
