package service_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestCreateRepository(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	repo, kit, err := r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "second", Location: "file:///backup/a%20b", MaxRunning: 3})
	if err != nil {
		t.Fatal(err)
	}
	got := must(r.svc.Repository(ctx, r.admin, repo.ID))(t)
	if got.Location != "file:///backup/a%20b" || got.MaxRunning != 3 || got.FormatID == "" || kit.FormatID != got.FormatID || kit.Location != got.Location {
		t.Errorf("got repository %+v and kit %+v", got, kit)
	}
	n := len(r.out.passwords)
	key := must(r.master.Open(got.Password))(t)
	if key.Reveal() != r.out.passwords[n-2] || kit.Password.Reveal() != r.out.passwords[n-1] || key.Reveal() == kit.Password.Reveal() || len(key.Reveal()) != 52 {
		t.Error("the service's key and the kit's are not the two that the repository was made with")
	}
	made := len(r.out.locations)
	for _, c := range []struct {
		name, repo, location string
		want                 holdfast.Code
	}{
		{"no name", "", "file:///backup/x", holdfast.CodeInvalid},
		{"name taken", "main", "file:///backup/x", holdfast.CodeConflict},
		{"no location", "x", "", holdfast.CodeInvalid},
		{"a path", "x", "/backup/x", holdfast.CodeInvalid},
		{"relative", "x", "file:backup/x", holdfast.CodeInvalid},
		{"another machine", "x", "file://nas/backup", holdfast.CodeInvalid},
		{"another scheme", "x", "s3://bucket/x", holdfast.CodeInvalid},
		{"a query", "x", "file:///backup/x?a=b", holdfast.CodeInvalid},
		{"the root", "x", "file:///", holdfast.CodeInvalid},
		{"climbing", "x", "file:///backup/../etc", holdfast.CodeInvalid},
		{"not a URL", "x", "file:///%zz", holdfast.CodeInvalid},
		{"location taken", "x", "file:///backup/main", holdfast.CodeConflict},
		{"location taken, spelt otherwise", "x", "file:///backup/m%61in", holdfast.CodeConflict},
		{"inside another", "x", "file:///backup/main/x", holdfast.CodeConflict},
		{"around another", "x", "file:///backup", holdfast.CodeConflict},
		{"a bucket without an access", "x", "s3:https://s3.example.com/bucket", holdfast.CodeInvalid},
		{"a bucket without TLS", "x", "s3:http://s3.example.com/bucket", holdfast.CodeInvalid},
	} {
		_, _, err := r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: c.repo, Location: c.location})
		if got := holdfast.ErrorCode(err); got != c.want {
			t.Errorf("%s: got %v, want code %q", c.name, err, c.want)
		}
		if holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: there is no hint", c.name)
		}
	}
	_, _, err = r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "x", Location: "file:///backup/x", MaxRunning: -1})
	wantInvalid(t, err)
	if len(r.out.locations) != made {
		t.Errorf("refusals have made directories: %v", r.out.locations[made:])
	}

	r.out.createErr = holdfast.Errorf(holdfast.CodeExhausted, "the disk is full")
	_, _, err = r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "x", Location: "file:///backup/x"})
	wantCode(t, err, holdfast.CodeExhausted)
	if n := len(must(r.svc.Repositories(ctx, r.admin))(t)); n != 2 {
		t.Errorf("got %d repositories, want 2", n)
	}
}

// failingInsert refuses repositories, as a full disk would.
type failingInsert struct{ store.Tx }

func (failingInsert) InsertRepository(context.Context, *holdfast.Repository) error {
	return holdfast.Errorf(holdfast.CodeExhausted, "the disk of the metadata database is full")
}

func TestAnUnrecordedRepositoryIsTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.store.wrap = func(tx store.Tx) store.Tx { return failingInsert{tx} }
	_, kit, err := r.svc.CreateRepository(t.Context(), r.admin, service.NewRepository{Name: "x", Location: "file:///backup/x"})
	r.store.wrap = nil
	wantCode(t, err, holdfast.CodeExhausted)
	if msg := holdfast.ErrorMessage(err); !strings.Contains(msg, "file:///backup/x") || !strings.Contains(holdfast.ErrorHint(err), "remove the directory") {
		t.Errorf("got message %q and hint %q, want the unused directory named", msg, holdfast.ErrorHint(err))
	}
	if !kit.Password.IsZero() {
		t.Error("a kit came with the error")
	}
}

func TestOneRepositoryForALocation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var wg sync.WaitGroup
	errs := make([]error, 4)
	for i := range errs {
		wg.Go(func() {
			_, _, errs[i] = r.svc.CreateRepository(t.Context(), r.admin, service.NewRepository{Name: newName(), Location: "file:///backup/one"})
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			wantCode(t, err, holdfast.CodeConflict)
		}
	}
	if won != 1 {
		t.Errorf("got %d repositories at one location, want 1", won)
	}
}

func TestDeleteRepository(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	repo, _, err := r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "second", Location: "file:///backup/second"})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.svc.DeleteRepository(ctx, r.admin, r.repo.ID), holdfast.CodeConflict)
	j := must(r.svc.CreateJob(ctx, r.admin, holdfast.Job{Site: r.sites[0].ID, Name: "x", Repository: repo.ID}))(t)
	wantCode(t, r.svc.DeleteRepository(ctx, r.admin, repo.ID), holdfast.CodeConflict)
	if err := r.svc.DeleteJob(ctx, r.admin, j.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.svc.DeleteRepository(ctx, r.admin, repo.ID); err != nil {
		t.Fatal(err)
	}
	_, err = r.svc.Repository(ctx, r.admin, repo.ID)
	wantCode(t, err, holdfast.CodeNotFound)
}
