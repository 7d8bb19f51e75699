package service_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

const bucketURL = "s3:https://s3.example.com/bucket/main"

func bucketAccess() holdfast.ObjectAccess {
	return holdfast.ObjectAccess{
		AccessKey: "KEY1", SecretKey: holdfast.NewSecret("planted-secret"), SessionToken: holdfast.NewSecret("planted-token"), Region: "eu-1", PathStyle: true,
	}
}

func (r *rig) bucket(name, location string) (holdfast.Repository, service.KitFacts, error) {
	return r.svc.CreateRepository(r.t.Context(), r.admin, service.NewRepository{Name: name, Location: location, Access: bucketAccess()})
}

func TestCreateRepositoryInABucket(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	repo, kit, err := r.bucket("far", "s3:https://S3.example.com:443/bucket/main/")
	if err != nil {
		t.Fatal(err)
	}
	if repo.Location != bucketURL || kit.Location != bucketURL {
		t.Errorf("got the locations %s and %s, want %s", repo.Location, kit.Location, bucketURL)
	}
	for _, want := range []string{"KEY1", "https://s3.example.com", "bucket bucket", "AWS_SECRET_ACCESS_KEY", "HOLDFAST_S3_SECRET_KEY", "eu-1"} {
		if !strings.Contains(kit.Access, want) {
			t.Errorf("the kit does not tell of %s: %s", want, kit.Access)
		}
	}
	n := len(r.out.accesses)
	if got := r.out.accesses[n-1]; got.SecretKey.Reveal() != "planted-secret" || r.out.locations[n-1] != bucketURL {
		t.Errorf("made at %s with %v", r.out.locations[n-1], got)
	}
	packed := must(r.master.Open(repo.Access))(t)
	if a := must(holdfast.UnpackObjectAccess(packed))(t); a.SessionToken.Reveal() != "planted-token" || !a.PathStyle {
		t.Errorf("stored is %v", a)
	}
	r.wantNoSecrets(kit.Access)

	for location, want := range map[string]holdfast.Code{
		bucketURL: holdfast.CodeConflict, bucketURL + "/a": holdfast.CodeConflict, "s3:https://s3.example.com/bucket": holdfast.CodeConflict,
		"file:///backup/far": holdfast.CodeInvalid,
	} {
		_, _, err := r.bucket("x", location)
		wantCode(t, err, want)
		if holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: there is no hint", location)
		}
	}
	if _, _, err := r.bucket("beside", bucketURL+"2"); err != nil {
		t.Error(err)
	}
	if len(r.out.accesses) != n+1 {
		t.Errorf("refusals have made %v", r.out.locations[n:])
	}
}

// wantNoSecrets looks for planted secrets in what people see.
func (r *rig) wantNoSecrets(more ...any) {
	r.t.Helper()
	events := must(r.svc.Events(r.t.Context(), r.admin, 0, 100))(r.t)
	text, err := json.Marshal(events)
	if err != nil {
		r.t.Fatal(err)
	}
	if all := string(text) + fmt.Sprintf("%+v", more); strings.Contains(all, "planted") {
		r.t.Errorf("a secret is shown: %s", all)
	}
}

func TestRepositoryAccess(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	repo, _, err := r.bucket("far", bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	got, token, err := r.svc.RepositoryAccess(ctx, r.admin, repo.ID)
	if err != nil || got.AccessKey != "KEY1" || !token || !got.SecretKey.IsZero() || !got.SessionToken.IsZero() {
		t.Errorf("got %+v, %t and %v", got, token, err)
	}
	_, _, err = r.svc.RepositoryAccess(ctx, r.admin, r.repo.ID)
	wantInvalid(t, err)
	_, _, err = r.svc.SetRepositoryAccess(ctx, r.admin, r.repo.ID, holdfast.ObjectAccessChange{})
	wantInvalid(t, err)

	key := "KEY2"
	_, _, err = r.svc.SetRepositoryAccess(ctx, r.admin, repo.ID, holdfast.ObjectAccessChange{AccessKey: &key})
	wantInvalid(t, err)
	rotate := holdfast.ObjectAccessChange{AccessKey: &key, SecretKey: holdfast.NewSecret("planted-new")}
	r.out.checkErr = holdfast.Errorf(holdfast.CodeForbidden, "the store does not take the access key")
	_, _, err = r.svc.SetRepositoryAccess(ctx, r.admin, repo.ID, rotate)
	wantCode(t, err, holdfast.CodeForbidden)
	if now := must(r.svc.Repository(ctx, r.admin, repo.ID))(t); string(now.Access) != string(repo.Access) {
		t.Error("an access that opens nothing has been stored")
	}
	r.out.checkErr = nil
	got, token, err = r.svc.SetRepositoryAccess(ctx, r.admin, repo.ID, rotate)
	if err != nil || got.AccessKey != "KEY2" || token || !got.SecretKey.IsZero() || got.Region != "eu-1" {
		t.Errorf("got %+v, %t and %v", got, token, err)
	}
	password := must(r.master.Open(repo.Password))(t)
	want := bucketURL + " KEY2 planted-new " + password.Reveal() + " " + repo.FormatID
	if last := r.out.checks[len(r.out.checks)-1]; last != want {
		t.Errorf("checked %q, want %q", last, want)
	}
	events := must(r.svc.Events(ctx, r.admin, 0, 100))(t)
	if e := events[len(events)-1]; e.Kind != "repository.access_changed" || !strings.Contains(string(e.Data), "KEY1") || !strings.Contains(string(e.Data), "KEY2") {
		t.Errorf("got the event %s %s", e.Kind, e.Data)
	}
	r.wantNoSecrets(got)
}
