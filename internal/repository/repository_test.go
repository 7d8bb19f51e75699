package repository

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
)

// wantError checks an error's code and that its words hold some of ours.
func wantError(t testing.TB, err error, code holdfast.Code, words string) {
	t.Helper()
	if got := holdfast.ErrorCode(err); got != code || !strings.Contains(err.Error(), words) {
		t.Errorf("got code %q, error %v; want %q with %q", got, err, code, words)
	}
}

func names(t testing.TB, b objstore.Bucket, prefix string) []string {
	t.Helper()
	var out []string
	err := b.List(context.WithoutCancel(t.Context()), prefix, func(i objstore.Info) error {
		out = append(out, i.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCreateAndOpen(t *testing.T) {
	t.Parallel()
	b := mem.New()
	kit, err := NewKitPassword()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Create(t.Context(), b, testSecret(), kit)
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []holdfast.Secret{testSecret(), kit} {
		again, err := Open(t.Context(), b, password)
		if err != nil {
			t.Fatal(err)
		}
		if again.ID() != r.ID() || len(r.ID()) != 64 {
			t.Errorf("got id %q, want %q", again.ID(), r.ID())
		}
	}
	_, err = Open(t.Context(), b, holdfast.NewSecret("wrong"))
	wantError(t, err, holdfast.CodeForbidden, "password")
	if holdfast.ErrorHint(err) == "" {
		t.Error("a wrong password comes without a hint")
	}
	_, err = Create(t.Context(), b, testSecret())
	wantError(t, err, holdfast.CodeConflict, "already")
	_, err = Create(t.Context(), mem.New())
	wantError(t, err, holdfast.CodeInvalid, "password")
	_, err = Create(t.Context(), mem.New(), holdfast.Secret{})
	wantError(t, err, holdfast.CodeInvalid, "password")
	_, err = Open(t.Context(), mem.New(), testSecret())
	wantError(t, err, holdfast.CodeNotFound, "no repository")
}

// replace puts other content under a name.
func replace(t testing.TB, b objstore.Bucket, name string, data []byte) {
	t.Helper()
	if err := b.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}

func TestOpenDamaged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		damage func(*Repository, *mem.Bucket)
		code   holdfast.Code
		words  string
	}{
		{"newer version", func(r *Repository, b *mem.Bucket) {
			sealConfig(t, r, b, `{"version":3,"id":{"new":"shape"}}`)
		}, holdfast.CodeInvalid, "version 3"},
		{"no version", func(r *Repository, b *mem.Bucket) { sealConfig(t, r, b, `{}`) }, holdfast.CodeInvalid, "version"},
		{"no JSON", func(r *Repository, b *mem.Bucket) { sealConfig(t, r, b, `}`) }, holdfast.CodeInvalid, "JSON"},
		{"config damaged", func(_ *Repository, b *mem.Bucket) {
			replace(t, b, configName, make([]byte, 200))
		}, holdfast.CodeInvalid, "config is damaged"},
		{"config huge", func(_ *Repository, b *mem.Bucket) {
			replace(t, b, configName, make([]byte, maxConfig+1))
		}, holdfast.CodeInvalid, "larger"},
		{"key swapped", func(_ *Repository, b *mem.Bucket) {
			replace(t, b, names(t, b, "keys/")[0], []byte(`{"kdf":"scrypt"}`))
		}, holdfast.CodeForbidden, "damaged"},
		{"no keys", func(_ *Repository, b *mem.Bucket) {
			_ = b.Delete(t.Context(), names(t, b, "keys/")[0])
		}, holdfast.CodeInvalid, "no key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := mem.New()
			c.damage(newRepository(t, b), b)
			_, err := Open(t.Context(), b, testSecret())
			wantError(t, err, c.code, c.words)
		})
	}
}

func sealConfig(t testing.TB, r *Repository, b objstore.Bucket, plain string) {
	t.Helper()
	sealed, err := r.key.Seal([]byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	replace(t, b, configName, sealed)
}

func TestCreateThatFailsLeavesNothing(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for n := 1; n <= 3; n++ {
		inner := mem.New()
		b := fault.Wrap(inner, fault.On(fault.Put, n, broken))
		two := []holdfast.Secret{testSecret(), holdfast.NewSecret("kit")}
		if _, err := create(t.Context(), b, systemClock(), crypt.MinParams(), two); !errors.Is(err, broken) {
			t.Fatalf("put %d failed, Create says %v", n, err)
		}
		if left := names(t, inner, ""); len(left) != 0 {
			t.Errorf("put %d failed and left %v", n, left)
		}
	}
}

func TestCreateRefusesRemains(t *testing.T) {
	t.Parallel()
	b := mem.New()
	backUp(t, newRepository(t, b), set{"a": file([]byte("a"))})
	if err := b.Delete(t.Context(), configName); err != nil {
		t.Fatal(err)
	}
	_, err := Create(t.Context(), b, testSecret())
	wantError(t, err, holdfast.CodeConflict, "no config")
}

func TestPolynomialIsIrreducible(t *testing.T) {
	t.Parallel()
	// The polynomial of restic's own documentation, and products.
	for p, want := range map[polynomial]bool{
		0x3DA3358B4DC173: true, 0x3DA3358B4DC172: false, 0x3DA3358B4DC171: false, 3: false, 1 << 53: false, 0: false,
	} {
		if got := p.irreducible(); got != want {
			t.Errorf("%x: got %v", uint64(p), got)
		}
	}
	for range 3 {
		p, err := randomPolynomial()
		if err != nil || !p.irreducible() {
			t.Errorf("got %x, error %v", uint64(p), err)
		}
	}
	var p polynomial
	if err := json.Unmarshal([]byte(`"25b468838dcb75"`), &p); err != nil || p != 0x25b468838dcb75 {
		t.Errorf("got %x, error %v", uint64(p), err)
	}
}

func TestSnapshots(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	first := backUp(t, r, set{"a": file([]byte("a"))})
	second := backUp(t, r, set{"a": file([]byte("b"))})
	all, err := r.Snapshots(t.Context())
	if err != nil || len(all) != 2 {
		t.Fatalf("got %v, error %v", all, err)
	}
	s, err := r.Snapshot(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := s.Tag("set"); !ok || v != "1001" || !s.Time.Equal(testTime) || s.Username != "tester" || s.Program != program {
		t.Errorf("got %+v", s)
	}
	if _, ok := s.Tag("se"); ok {
		t.Error("a part of a key was taken for it")
	}

	name := kindSnapshot().prefix + second
	replace(t, b, name, []byte("damaged"))
	all, err = r.Snapshots(t.Context())
	if len(all) != 1 || all[0].ID != first {
		t.Errorf("a damaged snapshot hides the others: got %v", all)
	}
	wantError(t, err, holdfast.CodeInvalid, second)

	for range 2 {
		if err := r.RemoveSnapshot(t.Context(), second); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.Snapshot(t.Context(), second)
	wantError(t, err, holdfast.CodeNotFound, second)
	_, err = r.NewReader(t.Context(), second)
	wantError(t, err, holdfast.CodeNotFound, second)
	wantError(t, r.RemoveSnapshot(t.Context(), "../config"), holdfast.CodeInvalid, "snapshot")
	if locks := names(t, b, "locks/"); len(locks) != 0 {
		t.Errorf("locks are left: %v", locks)
	}
}

func TestSwappedObjectsAreNamed(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"index/", "snapshots/"} {
		b := mem.New()
		r := newRepository(t, b)
		id := backUp(t, r, set{"a": file([]byte("a"))})
		second := backUp(t, r, set{"b": file([]byte("b"))})
		list := names(t, b, prefix)
		other, err := objstore.ReadAll(t.Context(), b, list[1], 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if prefix+id == list[1] {
			list[0], list[1] = list[1], list[0]
			if other, err = objstore.ReadAll(t.Context(), b, list[1], 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		replace(t, b, list[0], other) // sealed with the right key, and whole
		if prefix == "index/" {
			if _, err = fetchAll(t, r, id); err == nil { // it was the other one's
				_, err = fetchAll(t, r, second)
			}
		} else {
			_, err = r.Snapshot(t.Context(), list[0][len(prefix):])
		}
		wantError(t, err, holdfast.CodeInvalid, list[0][len(prefix):])
	}
}
