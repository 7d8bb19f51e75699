package service_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestTokenLife(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	made, secret := r.token(service.NewToken{
		Name: "nightly", Role: holdfast.RoleOperator, Sites: []holdfast.SiteID{r.sites[1].ID, r.sites[0].ID, r.sites[1].ID},
		Expires: start.Add(time.Hour),
	})
	if !strings.HasPrefix(secret, "hf_") || len(secret) != 3+52 {
		t.Errorf("got a token of %d characters, want hf_ and 52", len(secret))
	}
	if len(made.Hash) != 0 {
		t.Error("the credential shows its hash")
	}

	actor := must(r.svc.Authenticate(ctx, " "+secret+" ", "api/native"))(t)
	if actor.Credential.ID != made.ID || actor.Credential.Role != holdfast.RoleOperator || len(actor.Credential.Sites) != 2 {
		t.Errorf("got credential %+v, want the token's role and its two sites", actor.Credential)
	}
	if actor.Dialect != "api/native" || actor.String() != "token nightly" || actor.Principal.Kind != holdfast.PrincipalService {
		t.Errorf("got actor %q of kind %s through %q", actor, actor.Principal.Kind, actor.Dialect)
	}

	r.clock.add(time.Hour)
	_, err := r.svc.Authenticate(ctx, secret, "")
	wantCode(t, err, holdfast.CodeUnauthenticated)

	again, secret2 := r.token(service.NewToken{Name: "nightly", Role: holdfast.RoleReader})
	must(r.svc.Authenticate(ctx, secret2, ""))(t)
	for range 2 { // the second changes nothing
		if err := r.svc.RevokeToken(ctx, r.admin, again.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.svc.Authenticate(ctx, secret2, "")
	wantCode(t, err, holdfast.CodeUnauthenticated)

	list := must(r.svc.Tokens(ctx, r.admin))(t)
	if len(list) != 2 || list[0].Name != "nightly" || list[1].Revoked.IsZero() || len(list[0].Hash)+len(list[1].Hash) != 0 {
		t.Errorf("got tokens %+v, want two without hashes, the second revoked", list)
	}
	revoked := 0
	for _, e := range r.events(0) {
		if e.Kind == "token.revoked" {
			revoked++
		}
	}
	if revoked != 1 {
		t.Errorf("got %d events of a revoked token, want 1", revoked)
	}
}

func TestRefusedTokensAreNotToldApart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	expired, expiredSecret := r.token(service.NewToken{Name: "expired", Role: holdfast.RoleAdmin, Expires: start.Add(time.Second)})
	revoked, revokedSecret := r.token(service.NewToken{Name: "revoked", Role: holdfast.RoleAdmin})
	disabledSecret := r.disabledToken("disabled")
	if err := r.svc.RevokeToken(ctx, r.admin, revoked.ID); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Second)
	if expired.Valid(r.clock.Now()) {
		t.Fatal("the token has not expired")
	}
	if _, err := r.svc.InviteWorker(ctx, r.admin, service.Invite{Name: "w", Hosts: []holdfast.HostID{r.hosts[0].ID}}); err != nil {
		t.Fatal(err)
	}

	texts := map[string]bool{}
	for name, bearer := range map[string]string{
		"empty": "", "short": "hf_", "another's": "ghp_" + strings.Repeat("a", 51), "unknown": "hf_" + strings.Repeat("a", 52),
		"upper case": strings.ToUpper(disabledSecret), "huge": strings.Repeat("hf_", 1<<20),
		"expired": expiredSecret, "revoked": revokedSecret, "disabled": disabledSecret,
		"of a join": r.out.joinSecrets[0], "a wrapped join": "wrapped." + r.out.joinSecrets[0],
	} {
		_, err := r.svc.Authenticate(ctx, bearer, "")
		if got := holdfast.ErrorCode(err); got != holdfast.CodeUnauthenticated {
			t.Errorf("%s: got %v, want unauthenticated", name, err)
		}
		texts[err.Error()+holdfast.ErrorHint(err)] = true
	}
	if len(texts) != 1 {
		t.Errorf("got %d different texts, want one: %v", len(texts), texts)
	}
}

// disabledToken makes a token of a principal that is disabled.
func (r *rig) disabledToken(name string) string {
	r.t.Helper()
	secret := "hf_" + strings.Repeat("d", 52)
	hash := sha256.Sum256([]byte(secret))
	r.update(func(tx store.Tx) error {
		p := holdfast.Principal{Account: holdfast.FirstID, Kind: holdfast.PrincipalService, Name: name, Disabled: true, Created: start}
		if err := tx.InsertPrincipal(r.t.Context(), &p); err != nil {
			return err
		}
		return tx.InsertCredential(r.t.Context(), &holdfast.Credential{
			Account: p.Account, Principal: p.ID, Kind: holdfast.CredentialToken, Name: "another", Hash: hash[:],
			Role: holdfast.RoleAdmin, Created: start,
		})
	})
	return secret
}

func TestNewTokensThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.token(service.NewToken{Name: "taken", Role: holdfast.RoleReader})
	r.disabledToken("disabled")
	for _, c := range []struct {
		name string
		in   service.NewToken
		want holdfast.Code
	}{
		{"no name", service.NewToken{Role: holdfast.RoleReader}, holdfast.CodeInvalid},
		{"a name with blanks", service.NewToken{Name: "a b", Role: holdfast.RoleReader}, holdfast.CodeInvalid},
		{"no role", service.NewToken{Name: "x"}, holdfast.CodeInvalid},
		{"unknown role", service.NewToken{Name: "x", Role: "root"}, holdfast.CodeInvalid},
		{"expired", service.NewToken{Name: "x", Role: holdfast.RoleReader, Expires: start}, holdfast.CodeInvalid},
		{"unknown site", service.NewToken{Name: "x", Role: holdfast.RoleReader, Sites: []holdfast.SiteID{r.sites[0].ID, unknown}}, holdfast.CodeNotFound},
		{"name in use", service.NewToken{Name: "taken", Role: holdfast.RoleReader}, holdfast.CodeConflict},
		{"a disabled principal", service.NewToken{Name: "disabled", Role: holdfast.RoleReader}, holdfast.CodeConflict},
		{"the socket's own name", service.NewToken{Name: "local", Role: holdfast.RoleReader}, holdfast.CodeConflict},
	} {
		_, secret, err := r.svc.CreateToken(t.Context(), r.admin, c.in)
		if got := holdfast.ErrorCode(err); got != c.want {
			t.Errorf("%s: got %v, want code %q", c.name, err, c.want)
		}
		if !secret.IsZero() {
			t.Errorf("%s: an error came with a secret", c.name)
		}
	}
	if n := len(must(r.svc.Tokens(t.Context(), r.admin))(t)); n != 2 {
		t.Errorf("got %d tokens after refusals, want the two from before", n)
	}
}

func TestLastUsedIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, secret := r.token(service.NewToken{Name: "often", Role: holdfast.RoleReader})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				if _, err := r.svc.Authenticate(ctx, secret, ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r.clock.add(90 * time.Second)
	must(r.svc.Authenticate(ctx, secret, ""))(t)
	if err := r.svc.Close(); err != nil { // waits for the writes
		t.Fatal(err)
	}
	list := must(r.svc.Tokens(ctx, r.admin))(t)
	if got, want := list[0].LastUsed, start.Add(time.Minute); !got.Equal(want) {
		t.Errorf("got last use %s, want %s", got, want)
	}
	if n := r.store.updates.Load(); n > 2 {
		t.Errorf("got %d writes for two minutes, want at most 2", n)
	}
	must(r.svc.Authenticate(ctx, secret, ""))(t) // a closed service still tells who it is
}

func TestAUseDoesNotUndoARevocation(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	for i := range 20 {
		c, secret := r.token(service.NewToken{Name: newName(), Role: holdfast.RoleReader})
		r.clock.add(2 * time.Minute)
		must(r.svc.Authenticate(ctx, secret, ""))(t) // writes in the background
		if err := r.svc.RevokeToken(ctx, r.admin, c.ID); err != nil {
			t.Fatal(err)
		}
		if _, err := r.svc.Authenticate(ctx, secret, ""); holdfast.ErrorCode(err) != holdfast.CodeUnauthenticated {
			t.Fatalf("round %d: got %v right after the revocation, want unauthenticated", i, err)
		}
	}
	if err := r.svc.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range must(r.svc.Tokens(ctx, r.admin))(t) {
		if c.Revoked.IsZero() {
			t.Errorf("token %d is not revoked any more", c.ID)
		}
	}
}

func TestLocalActor(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	again := must(r.svc.LocalActor(t.Context(), "web", ""))(t)
	if again.Principal.ID != r.admin.Principal.ID {
		t.Errorf("got principal %d at the second call, want %d", again.Principal.ID, r.admin.Principal.ID)
	}
	if again.Credential.Role != holdfast.RoleAdmin || again.Principal.Account != holdfast.FirstID || again.String() != "local" || again.Dialect != "web" {
		t.Errorf("got actor %q with role %q of account %d", again, again.Credential.Role, again.Principal.Account)
	}
}

func TestReady(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if err := r.svc.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.svc.Ready(ctx); err == nil {
		t.Error("got no error with a context that has ended")
	}
}

func TestEventsTellWhoDidWhat(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, secret := r.token(service.NewToken{Name: "nightly", Role: holdfast.RoleAdmin})
	actor := must(r.svc.Authenticate(ctx, secret, "api/baasenterprise"))(t)
	after := r.lastEvent().ID
	j := must(r.svc.CreateJob(ctx, actor, holdfast.Job{Site: r.sites[0].ID, Name: "full"}))(t)
	e := must(r.svc.Execute(ctx, actor, service.Run{Job: j.ID}))(t)
	must(r.svc.Stop(ctx, actor, e.ID))(t)
	list := r.events(after)
	if len(list) != 3 {
		t.Fatalf("got %d events, want 3", len(list))
	}
	for i, want := range []string{"job.created", "execution.queued", "execution.ended"} {
		got := list[i]
		if got.Kind != want || got.Actor != "token nightly" || got.Dialect != "api/baasenterprise" || !got.Time.Equal(start) {
			t.Errorf("got event %+v, want kind %s by the token", got, want)
		}
		if !json.Valid(got.Data) {
			t.Errorf("event %s holds %q, want JSON", got.Kind, got.Data)
		}
	}
	if page := must(r.svc.Events(ctx, r.admin, after, 2))(t); len(page) != 2 || page[0].ID != list[0].ID {
		t.Errorf("got %d events, want the first two", len(page))
	}
}

func TestSecretsStandNowhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, secret := r.token(service.NewToken{Name: "nightly", Role: holdfast.RoleAdmin})
	must(r.svc.Authenticate(ctx, secret, ""))(t)
	site := must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: r.sites[0], Password: holdfast.NewSecret("planted-second-password")}))(t)
	if _, err := r.svc.InviteWorker(ctx, r.admin, service.Invite{Name: "w", Hosts: []holdfast.HostID{site.Host}}); err != nil {
		t.Fatal(err)
	}
	r.backup(r.job(0, "full"), holdfast.CopyComplete)
	planted := append([]string{secret, sitePassword, "planted-second-password"}, r.out.passwords...)
	planted = append(planted, r.out.joinSecrets...)
	if len(planted) != 6 {
		t.Fatalf("got %d secrets, want 6", len(planted))
	}
	for _, e := range r.events(0) {
		for _, s := range planted {
			if bytes.Contains(e.Data, []byte(s)) || strings.Contains(e.Subject+e.Actor, s) {
				t.Errorf("event %s shows a secret", e.Kind)
			}
		}
	}
	for name, data := range r.files() {
		for i, s := range planted {
			if bytes.Contains(data, []byte(s)) {
				t.Errorf("file %s shows secret %d", name, i)
			}
		}
	}
	opened := must(r.master.Open(site.Password))(t)
	if opened.Reveal() != "planted-second-password" {
		t.Error("the stored password is not the one that was given")
	}
}
