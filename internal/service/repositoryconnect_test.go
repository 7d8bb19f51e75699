package service_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// TestConnectAgain connects a repository that is known already, as when the metadata is
// older than the service's key: it gets a new key, and nothing else changes.
func TestConnectAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	repo, _, err := r.bucket("far", bucketURL)
	if err != nil {
		t.Fatal(err)
	}
	ask := service.ConnectRepository{
		NewRepository: service.NewRepository{Name: "far", Location: bucketURL, Access: bucketAccess()}, Password: holdfast.NewSecret("planted-kit"),
	}
	ask.Access.AccessKey = "KEY2"
	for what, change := range map[string]func(*service.ConnectRepository){
		"another one":      func(c *service.ConnectRepository) { c.FormatID = strings.Repeat("e", 64) },
		"at another place": func(c *service.ConnectRepository) { c.Location += "2" },
		"by another name":  func(c *service.ConnectRepository) { c.Name = "again" },
		"without password": func(c *service.ConnectRepository) { c.Password = holdfast.Secret{} },
	} {
		c := ask
		change(&c)
		if _, err := r.svc.ConnectRepository(t.Context(), r.admin, c); err == nil || holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: got %v", what, err)
		}
	}
	_, err = r.svc.ConnectRepository(t.Context(), r.actor(holdfast.RoleOperator), ask)
	wantCode(t, err, holdfast.CodeForbidden)
	if now := must(r.svc.Repository(t.Context(), r.admin, repo.ID))(t); !reflect.DeepEqual(now, repo) {
		t.Errorf("what was refused has changed %+v to %+v", repo, now)
	}

	got := must(r.svc.ConnectRepository(t.Context(), r.admin, ask))(t)
	n := len(r.out.passwords)
	if stored := must(r.master.Open(got.Password))(t).Reveal(); stored != r.out.passwords[n-2] || bytes.Equal(got.Password, repo.Password) {
		t.Error("the key that is stored is not the one that was made")
	}
	if access, _, err := r.svc.RepositoryAccess(t.Context(), r.admin, repo.ID); err != nil || access.AccessKey != "KEY2" {
		t.Errorf("got the access %+v, %v", access, err)
	}
	if now := must(r.svc.Repository(t.Context(), r.admin, repo.ID))(t); !reflect.DeepEqual(now, got) {
		t.Errorf("got %+v, stored %+v", got, now)
	}
	got.Password, got.Access = repo.Password, repo.Access
	if !reflect.DeepEqual(got, repo) {
		t.Errorf("got %+v, want %+v", got, repo)
	}
	events := r.events(0)
	if e := events[len(events)-1]; e.Kind != "repository.password_changed" || !strings.Contains(string(e.Data), `"access_key":"KEY2"`) {
		t.Errorf("got the event %s %s", e.Kind, e.Data)
	}
}
