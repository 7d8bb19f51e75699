package repository

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
)

func TestKeySlots(t *testing.T) {
	t.Parallel()
	b := mem.New()
	kit := holdfast.NewSecret("kit")
	service, err := create(t.Context(), b, systemClock(), crypt.Params{N: 16, R: 8, P: 1}, []holdfast.Secret{testSecret(), kit})
	if err != nil {
		t.Fatal(err)
	}
	anna := holdfast.NewSecret("anna")
	slot, err := service.AddKey(t.Context(), anna, UsePerson)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := addKey(t.Context(), b, service.key, holdfast.NewSecret("foreign"), "", crypt.Params{N: 16, R: 8, P: 1}, service.now())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), b, kit)
	if err != nil {
		t.Fatal(err)
	}
	slots, err := r.KeySlots(t.Context())
	if err != nil || len(slots) != 4 {
		t.Fatalf("got %v, error %v", slots, err)
	}
	ids := map[KeyUse]string{}
	for _, s := range slots {
		ids[s.Use] = s.ID
		if s.Current != (s.Use == UseKit) || s.Created.IsZero() || s.Damaged != nil {
			t.Errorf("got %+v", s)
		}
	}
	if ids[UsePerson] != slot || ids[""] != foreign.String() || ids[UseService] == "" {
		t.Errorf("got %v", ids)
	}
	for _, c := range []struct {
		slot, words string
		force       bool
		code        holdfast.Code
	}{
		{ids[UseKit], "opened with", true, holdfast.CodeConflict},
		{ids[UseService], "service's own", true, holdfast.CodeConflict},
		{ids[""], "may be the service's", false, holdfast.CodeConflict},
		{strings.Repeat("0", 64), "no key", true, holdfast.CodeNotFound},
		{"../config", "id", true, holdfast.CodeInvalid},
	} {
		wantError(t, r.RemoveKey(t.Context(), c.slot, c.force), c.code, c.words)
	}
	if len(names(t, b, "keys/")) != 4 {
		t.Error("a key was removed all the same")
	}
	_, err = r.ChangePassword(t.Context(), holdfast.NewSecret("new"))
	wantError(t, err, holdfast.CodeConflict, "recovery kit")
	_, err = service.ChangePassword(t.Context(), holdfast.NewSecret("new"))
	wantError(t, err, holdfast.CodeConflict, "service's own")

	if err := r.RemoveKey(t.Context(), ids[""], true); err != nil {
		t.Error(err)
	}
	if err := r.RemoveKey(t.Context(), slot, false); err != nil {
		t.Error(err)
	}
	_, err = Open(t.Context(), b, anna)
	wantError(t, err, holdfast.CodeForbidden, "password")
	for _, password := range []holdfast.Secret{testSecret(), kit} {
		if _, err := Open(t.Context(), b, password); err != nil {
			t.Error(err)
		}
	}
}

// TestServicePasswordChanges: the old password opens the repository until the new one
// has been recorded, and what an interruption leaves can be taken away by the service.
func TestServicePasswordChanges(t *testing.T) {
	t.Parallel()
	b := mem.New()
	service := newRepository(t, b)
	lost := errors.New("the store is gone")
	first, err := service.ChangeServicePassword(t.Context(), holdfast.NewSecret("first"), func(context.Context) error { return lost })
	if !errors.Is(err, lost) {
		t.Fatalf("got %v", err)
	}
	for _, password := range []holdfast.Secret{testSecret(), holdfast.NewSecret("first")} {
		if _, err := Open(t.Context(), b, password); err != nil {
			t.Error(err)
		}
	}
	recorded := false
	second, err := service.ChangeServicePassword(t.Context(), holdfast.NewSecret("second"), func(ctx context.Context) error {
		recorded = true
		for _, password := range []holdfast.Secret{testSecret(), holdfast.NewSecret("second")} {
			if _, err := Open(ctx, b, password); err != nil {
				t.Errorf("while it is recorded: %v", err)
			}
		}
		return nil
	})
	if err != nil || !recorded {
		t.Fatalf("recorded %v, error %v", recorded, err)
	}
	_, err = Open(t.Context(), b, testSecret())
	wantError(t, err, holdfast.CodeForbidden, "password")

	now, err := Open(t.Context(), b, holdfast.NewSecret("second"))
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, now.RemoveKey(t.Context(), first, false), holdfast.CodeConflict, "service's own")
	wantError(t, now.RemoveKey(t.Context(), second, true), holdfast.CodeConflict, "opened with")
	if err := now.RemoveKey(t.Context(), first, true); err != nil {
		t.Error(err)
	}
	_, err = Open(t.Context(), b, holdfast.NewSecret("first"))
	wantError(t, err, holdfast.CodeForbidden, "password")
}

// TestPasswordsChangeForRestic: a key that we add, and a password that we change,
// are good for the stock restic, and no data is written.
func TestPasswordsChangeForRestic(t *testing.T) {
	t.Parallel()
	service, dir := newDirRepository(t)
	id := backUp(t, service, set{"a": file(text(1000, 1))})
	before := names(t, service.bucket, "data/")
	first := holdfast.NewSecret("first")
	if _, err := service.AddKey(t.Context(), first, UsePerson); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), service.bucket, first)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.ChangePassword(t.Context(), holdfast.Secret{})
	wantError(t, err, holdfast.CodeInvalid, "empty")
	slot, err := r.ChangePassword(t.Context(), holdfast.NewSecret("second"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), r.bucket, first)
	wantError(t, err, holdfast.CodeForbidden, "password")
	wantError(t, r.RemoveKey(t.Context(), slot, true), holdfast.CodeConflict, "opened with")
	var list []struct {
		Current bool   `json:"current"`
		ID      string `json:"id"`
	}
	file := t.TempDir() + "/password"
	writeFile(t, file, []byte("second"))
	if err := json.Unmarshal([]byte(restic(t, dir, "--password-file", file, "key", "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 {
		t.Errorf("restic lists %+v", list)
	}
	for _, k := range list {
		if k.Current != strings.HasPrefix(slot, k.ID) {
			t.Errorf("restic lists %+v, and we changed to %s", list, slot)
		}
	}
	restic(t, dir, "--password-file", file, "check", "--read-data")
	if after := names(t, r.bucket, "data/"); len(after) != len(before) {
		t.Errorf("got packs %v, want %v", after, before)
	}
	if _, err := fetchAll(t, r, id); err != nil {
		t.Error(err)
	}
}

// TestTheOnlyKeyStays: it is the one that the repository was opened with.
func TestTheOnlyKeyStays(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	slots, err := r.KeySlots(t.Context())
	if err != nil || len(slots) != 1 {
		t.Fatalf("got %v, %v", slots, err)
	}
	wantError(t, r.RemoveKey(t.Context(), slots[0].ID, true), holdfast.CodeConflict, "cannot be removed")
}

// TestKeysOfOthersKeepNobodyOut puts more objects beside the keys than anybody makes: by
// who may write into a repository, and delete nothing.
func TestKeysOfOthersKeepNobodyOut(t *testing.T) {
	t.Parallel()
	other := newRepository(t, mem.New())
	for what, put := range map[string]func(t *testing.T, r *Repository, i int){
		"junk": func(t *testing.T, r *Repository, i int) {
			t.Helper()
			if err := r.bucket.Put(t.Context(), fmt.Sprintf("keys/%064x", i), []byte("junk")); err != nil {
				t.Fatal(err)
			}
		},
		"keys of another": func(t *testing.T, r *Repository, i int) {
			t.Helper()
			_, err := addKey(t.Context(), r.bucket, other.key, holdfast.NewSecret(fmt.Sprint(i)), UsePerson, crypt.Params{N: 2, R: 1, P: 1}, testTime)
			if err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			r := newRepository(t, mem.New())
			for i := range 200 {
				put(t, r, i)
			}
			if _, err := Open(t.Context(), r.bucket, testSecret()); err != nil {
				t.Fatal(err)
			}
			for i := range maxKeys {
				put(t, r, 200+i)
			}
			_, err := Open(t.Context(), r.bucket, holdfast.NewSecret("wrong"))
			wantError(t, err, holdfast.CodeForbidden, "1201")
		})
	}
}

// TestAffordable bounds the time that others' keys take.
func TestAffordable(t *testing.T) {
	t.Parallel()
	key := func(n, p int) slotKey { return slotKey{keyJSON: keyJSON{N: n, R: 8, P: p}} }
	ours, dear := key(1<<15, 8), key(1<<20, 8)
	for _, c := range []struct {
		slots []slotKey
		want  int
	}{
		{nil, 0},
		{[]slotKey{dear}, 1},
		{slices.Repeat([]slotKey{ours}, 64), 64},
		{slices.Repeat([]slotKey{ours}, 100), 64},
		{append(slices.Repeat([]slotKey{ours}, 3), dear, dear, dear), 4},
	} {
		if got := affordable(c.slots); len(got) != c.want {
			t.Errorf("of %d slots %d are tried, want %d", len(c.slots), len(got), c.want)
		}
	}
}
