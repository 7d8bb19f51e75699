package native_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

// publicKey is the public half of a key that nobody kept.
const publicKey = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr0IzZcrkQF/a5WpCzqR+
FfMqK62lAZ8lvNI9Prtw2QnORU8V2l1N7fKGJb80gLOLNke0TIBFjeqQKQG/GMx3
A7CqK4SskgrUwTkf2Pv6da0qzzhJ1EVvzcE80c9Lp0/6zo9GaYvhwWxKB8vxXG8Z
RYthb8QxCqY7yIu0qV8Nt0zEEZefwU7+GksRkv2Cq9kHn07fR2I7midhrqFvr7t1
oauLa1zVoQC/dGretnBIu7KP6WjeQ30ECTW/K85NuC84sScYZeZsiwQjHvBD30a0
/2AGjNE13FO2OiIQuY8h940DSljivvilzMuRIEnpgRxKblA6R1j9DYiIgBjXgcsi
GwIDAQAB
-----END PUBLIC KEY-----
`

// body is a value as JSON text.
func body(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	noError(t, err)
	return string(b)
}

// TestIdentityExchanges walks through accounts, users, keys and tokens once; the
// golden file is read in review.
func TestIdentityExchanges(t *testing.T) {
	r := newRig(t)
	r.want(201, "POST", "/api/v1/accounts", `{"name":"acme","organisation":"north","aliases":["9eydr2-yrt"]}`)
	r.want(200, "PATCH", "/api/v1/accounts/acme/aliases", `{"add":["974c1971"],"remove":["9eydr2-yrt"]}`)
	r.want(409, "POST", "/api/v1/accounts", `{"name":"974c1971"}`)
	r.want(404, "PATCH", "/api/v1/accounts/nowhere/aliases", `{"add":["x"]}`)

	acme := []string{native.AccountHeader, "974c1971"}
	r.want(200, "GET", "/api/v1/accounts", "", acme...)
	r.want(403, "POST", "/api/v1/accounts", `{"name":"globex"}`, acme...)
	r.want(404, "GET", "/api/v1/hosts", "", native.AccountHeader, "nowhere")
	r.want(201, "POST", "/api/v1/hosts", `{"name":"db1","remote":true}`, acme...)
	r.want(201, "POST", "/api/v1/users", `{"name":"ada","role":"operator","password":"correct horse"}`, acme...)
	r.want(400, "POST", "/api/v1/users", `{"name":"bob","role":"operator","password":"short"}`, acme...)
	r.want(204, "PUT", "/api/v1/users/ada/password", `{"password":"another horse"}`, acme...)
	r.want(200, "POST", "/api/v1/users/ada/disable", "", acme...)
	r.want(200, "POST", "/api/v1/users/ada/enable", "", acme...)
	r.want(200, "GET", "/api/v1/users", "", acme...)
	r.want(404, "POST", "/api/v1/users/ada/disable", "")
	r.want(201, "POST", "/api/v1/keys", body(t, native.NewKey{User: "ada", Name: "laptop", PublicKey: publicKey}), acme...)
	r.want(400, "POST", "/api/v1/keys", `{"user":"ada","name":"phone","public_key":"nonsense"}`, acme...)
	r.want(200, "GET", "/api/v1/keys?user=ada", "", acme...)
	r.want(201, "POST", "/api/v1/pats", `{"user":"ada","role":"reader","expires":"2026-12-31T00:00:00Z","idle_minutes":43200}`, acme...)
	r.want(400, "POST", "/api/v1/pats", `{"user":"ada","role":"admin"}`, acme...)
	r.want(200, "GET", "/api/v1/pats", "", acme...)
	r.want(204, "DELETE", "/api/v1/pats/1004", "", acme...)
	r.want(204, "DELETE", "/api/v1/keys/1003", "", acme...)
	r.want(404, "DELETE", "/api/v1/keys/1003", "")
	r.want(200, "GET", "/api/v1/keys", "", acme...)
	r.want(200, "GET", "/api/v1/events", "", acme...)
	r.want(200, "GET", "/api/v1/keys", "")
	r.want(200, "GET", "/api/v1/pats?user=1003", "", acme...)
	r.golden("identity")
}

// A token is of one account: nothing that comes with it says another.
func TestAnAccountIsChosenAtTheSocketOnly(t *testing.T) {
	r := newRig(t)
	r.want(201, "POST", "/api/v1/accounts", `{"name":"acme"}`)
	var made native.CreatedToken
	r.want(201, "POST", "/api/v1/tokens", `{"name":"t","role":"admin"}`, native.AccountHeader, "acme").decode(t, &made)
	bearer := []string{"Authorization", "Bearer " + made.Secret}
	for _, socket := range []bool{true, false} {
		r.socket = socket
		for _, account := range []string{"acme", "default", "nowhere"} {
			var p native.Problem
			r.want(400, "GET", "/api/v1/accounts", "", append(bearer, native.AccountHeader, account)...).decode(t, &p)
			if !strings.Contains(p.Detail, "with a token") {
				t.Errorf("%s: got %q", account, p.Detail)
			}
		}
		var list native.List[native.Account]
		r.want(200, "GET", "/api/v1/accounts", "", bearer...).decode(t, &list)
		if list.Total != 1 || list.Items[0].Name != "acme" {
			t.Errorf("got accounts %+v, want the token's", list)
		}
	}
	for _, account := range []string{"acme", "nowhere"} { // not from the socket, and no token
		r.want(401, "GET", "/api/v1/accounts", "", native.AccountHeader, account)
	}
}

// listen lets the API be reached over a Unix socket, too, and returns its path.
func (r *rig) listen(t *testing.T) string {
	t.Helper()
	target, err := url.Parse(r.url)
	noError(t, err)
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	noError(t, err)
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: httputil.NewSingleHostReverseProxy(target), ReadHeaderTimeout: time.Minute}}
	srv.Start()
	t.Cleanup(srv.Close)
	return l.Addr().String()
}

func TestClientOfAnAccount(t *testing.T) {
	r := newRig(t)
	ctx := t.Context()
	socket := r.listen(t)
	connect := func(account string) *client.Client {
		c, err := client.New(client.Options{Socket: socket, Account: account, Version: "test"})
		noError(t, err)
		return c
	}
	own := connect("")
	_, err := own.CreateAccount(ctx, native.NewAccount{Name: "acme"})
	noError(t, err)
	made, err := own.ChangeAliases(ctx, "acme", native.AliasChange{Add: []string{"a b", "ü"}})
	noError(t, err)
	if len(made.Aliases) != 2 {
		t.Errorf("got aliases %v", made.Aliases)
	}
	acme := connect("a b")
	accounts, err := acme.Accounts(ctx)
	noError(t, err)
	if len(accounts) != 1 || accounts[0].ID != made.ID {
		t.Errorf("got accounts %+v, want %d alone", accounts, made.ID)
	}
	u, err := acme.CreateUser(ctx, native.NewUser{Name: "ada", Role: holdfast.RoleOperator, Password: holdfast.NewSecret("correct horse")})
	noError(t, err)
	if !u.HasPassword {
		t.Error("the password did not arrive")
	}
	noError(t, acme.SetPassword(ctx, "ada", holdfast.Secret{}))
	users, err := acme.Users(ctx)
	noError(t, err)
	if len(users) != 1 || users[0].HasPassword {
		t.Errorf("got users %+v, want ada without a password", users)
	}
	u, err = acme.DisableUser(ctx, "ada")
	noError(t, err)
	if !u.Disabled {
		t.Error("ada is not disabled")
	}
	if _, err = acme.EnableUser(ctx, "ada"); err != nil {
		t.Error(err)
	}
	k, err := acme.AddKey(ctx, native.NewKey{User: "ada", Name: "laptop", PublicKey: publicKey})
	noError(t, err)
	p, err := acme.CreatePAT(ctx, native.NewPAT{User: "ada"})
	noError(t, err)
	if p.Secret == "" || p.Role != holdfast.RoleOperator {
		t.Errorf("got token %+v", p.PAT)
	}
	noError(t, acme.RevokeKey(ctx, k.ID))
	noError(t, acme.RevokePAT(ctx, p.ID))
	keys, err := acme.Keys(ctx, "ada")
	noError(t, err)
	pats, err := acme.PATs(ctx, "")
	noError(t, err)
	if len(keys) != 1 || keys[0].Revoked.IsZero() || len(pats) != 1 || pats[0].Revoked.IsZero() {
		t.Errorf("got %+v and %+v, want both revoked", keys, pats)
	}
	if keys, err = own.Keys(ctx, ""); err != nil || len(keys) != 0 {
		t.Errorf("the default account got keys %+v and error %v", keys, err)
	}
	if _, err := connect("nowhere").Accounts(ctx); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("got %v for an unknown account", err)
	}
}
