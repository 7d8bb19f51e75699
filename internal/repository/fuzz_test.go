package repository

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

const hexID = "040b1e2c5f6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e"

func FuzzParseTree(f *testing.F) {
	f.Add([]byte(`{"nodes":[]}` + "\n"))
	f.Add([]byte(`{"nodes":[{"name":"a","type":"file","mode":384,"mtime":"2026-01-01T00:00:00+01:00","size":5,"content":["` + hexID + `"]},{"name":"b","type":"dir","subtree":"` + hexID + `"}]}`))
	f.Add([]byte(`{"nodes":[{"name":"\\xff\"","type":"symlink","linktarget":"..","linktarget_raw":"/w=="}],"x":1}`))
	f.Add([]byte(`{"nodes":[{"name":"..","type":"dir"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var nodes []node
		if err := parseTree(bytes.NewReader(data), func(n node) error { nodes = append(nodes, n); return nil }); err != nil {
			return
		}
		enc := newTreeEncoder(false)
		for _, n := range nodes {
			if p := path.Join("base", n.name); !strings.HasPrefix(p, "base/") || strings.Count(p, "/") != 1 || strings.ContainsRune(p, 0) {
				t.Fatalf("the name %q leaves its directory", n.name)
			}
			if n.size < 0 {
				t.Fatalf("%q has a size of %d", n.name, n.size)
			}
			j := nodeJSON{Name: quoteName(n.name), Type: typeOf(n.mode), Mode: uint32(n.mode), ModTime: jsonTime(n.modTime), Size: uint64(n.size), Content: n.content, LinkRaw: []byte(n.link)}
			if n.mode.IsDir() {
				j.Subtree = &n.subtree
			}
			if j.Type == "" {
				j.Type = "other"
			}
			line, err := appendNode(nil, &j)
			if err != nil {
				t.Fatal(err)
			}
			if err := enc.add(line); err != nil {
				t.Fatal(err)
			}
		}
		_, _, content, err := enc.finish()
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		err = parseTree(bytes.NewReader(content), func(n node) error {
			if w := nodes[i]; n.name != w.name || n.size != w.size || n.link != w.link || n.subtree != w.subtree || len(n.content) != len(w.content) {
				t.Errorf("got %+v, want %+v", n, w)
			}
			i++
			return nil
		})
		if err != nil || i != len(nodes) {
			t.Errorf("what we write of %d nodes is read as %d, error %v", len(nodes), i, err)
		}
	})
}

func FuzzNames(f *testing.F) {
	for p := range oddSet() {
		f.Add(path.Base(p))
	}
	f.Fuzz(func(t *testing.T, name string) {
		quoted, err := json.Marshal(quoteName(name))
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil {
			t.Fatal(err)
		}
		got, err := unquoteName(back)
		if ok := fs.ValidPath(name) && !strings.ContainsAny(name, "/\x00") && name != "."; ok && len(name) <= maxNameLen && (err != nil || got != name) {
			t.Errorf("%q is read as %q, error %v", name, got, err)
		}
		if err == nil && got != name {
			t.Errorf("%q is read as %q", name, got)
		}
	})
}

func FuzzParseSnapshot(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-01T00:00:00.5+01:00","tree":"` + hexID + `","paths":["/pgdata"],"hostname":"h","username":"u","uid":1,"tags":["a=b"]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSnapshot(hash.ID{}, data)
		if err == nil && s.Tree.IsZero() {
			t.Error("a snapshot without a tree was read")
		}
		s.Tag("a")
	})
}

func FuzzParseKey(f *testing.F) {
	key, err := crypt.RandomKey()
	if err != nil {
		f.Fatal(err)
	}
	whole, err := encodeKey(key, testSecret(), "", crypt.MinParams(), testTime)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"kdf":"scrypt","N":1073741824,"r":8,"p":1,"salt":"AA==","data":"` + strings.Repeat("A", 64) + `"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseKey(data)
		if err != nil {
			return
		}
		if err := (crypt.Params{N: k.N, R: k.R, P: k.P}).Check(); err != nil {
			t.Error(err)
		}
		if k.N*k.R*k.P <= 1<<10 { // cheap enough to try
			_, _ = k.open(testSecret())
		}
	})
}

func FuzzParseLock(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-01T00:00:00Z","exclusive":true,"hostname":"h","username":"u","pid":7,"holdfast_holder":"a","holdfast_generation":5}`))
	f.Add([]byte(`{"pid":-1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := parseLock(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(l)
		if err != nil {
			return // a year that JSON cannot carry
		}
		if got, err := parseLock(again); err != nil || !got.Time.Equal(l.Time) {
			t.Errorf("got %+v, error %v, want %+v", got, err, l)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"version":2,"id":"` + hexID + `","chunker_polynomial":"25b468838dcb75"}`))
	f.Add([]byte(`{"version":99}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err == nil && (c.Version < minVersion || c.Version > maxVersion || c.ID.IsZero()) {
			t.Errorf("read %+v", c)
		}
	})
}

func FuzzDecodeObject(f *testing.F) {
	key, err := crypt.RandomKey()
	if err != nil {
		f.Fatal(err)
	}
	frame, err := compress.New().Encode(nil, bytes.Repeat([]byte("x"), 2000))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{}`))
	f.Add(append([]byte{compressedMark}, frame...))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, plain []byte) {
		_, _ = decodeObject(key, bytes.Clone(plain), 1000) // as if it came from the bucket
		sealed, err := key.Seal(plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeObject(key, sealed, 1000)
		if err == nil && len(got) > max(1000, len(plain)) {
			t.Errorf("got %d bytes", len(got))
		}
	})
}
