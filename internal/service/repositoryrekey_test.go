package service_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func TestRekeyRepository(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	repo, _, err := r.bucket("far", bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	password := func() string {
		row := must(r.svc.Repository(ctx, r.admin, repo.ID))(t)
		return must(r.master.Open(row.Password))(t).Reveal()
	}
	old := password()
	r.out.checkErr = holdfast.Errorf(holdfast.CodeUnavailable, "the store is away")
	wantCode(t, r.svc.RekeyRepository(ctx, r.admin, repo.ID), holdfast.CodeUnavailable)
	if password() != old {
		t.Error("a password that opens nothing has been stored")
	}
	r.out.checkErr = nil
	if err := r.svc.RekeyRepository(ctx, r.admin, repo.ID); err != nil {
		t.Fatal(err)
	}
	got := password()
	if want := r.out.passwords[len(r.out.passwords)-1]; got != want || got == old {
		t.Errorf("got %q stored, want the repository's new one and not the old one", got)
	}
	want := bucketURL + " KEY1 planted-secret " + old + " " + repo.FormatID
	if last := r.out.checks[len(r.out.checks)-1]; last != want {
		t.Errorf("opened with %q, want %q", last, want)
	}
	events := must(r.svc.Events(ctx, r.admin, 0, 100))(t)
	if e := events[len(events)-1]; e.Kind != "repository.password_changed" || string(e.Data) != fmt.Sprintf(`{"name":%q}`, repo.Name) {
		t.Errorf("got the event %s %s", e.Kind, e.Data)
	}
	wantCode(t, r.svc.RekeyRepository(ctx, r.admin, 999_999), holdfast.CodeNotFound)
}
