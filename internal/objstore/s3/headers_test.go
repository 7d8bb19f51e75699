package s3_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
)

// TestWhatNewObjectsAreAskedToBe looks at the headers with which objects are put, whole
// and in parts: a server that does not know one of them takes no notice of it.
func TestWhatNewObjectsAreAskedToBe(t *testing.T) {
	t.Parallel()
	const class, sse, kms, token = "X-Amz-Storage-Class", "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", "X-Amz-Security-Token"
	for name, c := range map[string]struct {
		set  func(*s3.Config)
		want map[string]string
	}{
		"nothing":            {func(*s3.Config) {}, map[string]string{}},
		"a storage class":    {func(c *s3.Config) { c.StorageClass = "STANDARD_IA" }, map[string]string{class: "STANDARD_IA"}},
		"encrypted":          {func(c *s3.Config) { c.Encryption = "AES256" }, map[string]string{sse: "AES256"}},
		"by a service":       {func(c *s3.Config) { c.Encryption = "aws:kms" }, map[string]string{sse: "aws:kms"}},
		"with a key":         {func(c *s3.Config) { c.Encryption = "aws:kms:key-1" }, map[string]string{sse: "aws:kms", kms: "key-1"}},
		"temporary identity": {func(c *s3.Config) { c.SessionToken = holdfast.NewSecret("token-1") }, map[string]string{token: "token-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex // guards the map
			got := map[string]http.Header{}
			fake := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				mu.Lock()
				got[r.Method] = r.Header
				mu.Unlock()
				w.Header().Set("ETag", `"d41d8cd98f00b204e9800998ecf8427e"`)
				if r.Method == http.MethodPost {
					_, _ = io.WriteString(w, `<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>b</Key><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
				}
			}))
			defer fake.Close()
			cfg := fakeConfig(fake)
			c.set(&cfg)
			b := open(t, cfg)
			if err := b.Put(t.Context(), "a", bytes.Repeat([]byte("x"), 1000)); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Begin(t.Context(), "b"); err != nil {
				t.Fatal(err)
			}
			for _, method := range []string{http.MethodPut, http.MethodPost} {
				for _, h := range []string{class, sse, kms, token} {
					if text := got[method].Get(h); text != c.want[h] {
						t.Errorf("%s: got %s %q, want %q", method, h, text, c.want[h])
					}
				}
			}
		})
	}
}
