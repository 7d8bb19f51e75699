package bmcetl_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/bmcetl"
	"github.com/holdfast-backup/holdfast/internal/service"
)

const listPath = "/opt/api/v1/backend/etls"

// newAccess makes a user with an access key, and returns what logs in with it.
func newAccess(t *testing.T, w *apitest.World, name string) (service.UserKey, string) {
	t.Helper()
	local, err := w.Service.LocalActor(t.Context(), "test", "")
	noError(t, err)
	u, err := w.Service.CreateUser(t.Context(), local, service.NewUser{Name: name, Role: holdfast.RoleOperator})
	noError(t, err)
	k, secret, err := w.Service.CreateAccessKey(t.Context(), local, service.NewAccessKey{User: u.ID, Name: "night"})
	noError(t, err)
	b, err := json.Marshal(map[string]string{"access_key": string(k.PublicKey), "access_secret_key": secret.Reveal()})
	noError(t, err)
	return k, string(b)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tokens are what a log-in gives.
type tokens struct {
	Token   string `json:"json_web_token"`
	Refresh string `json:"token"`
}

func logIn(t *testing.T, h http.Handler, body string) tokens {
	t.Helper()
	rec := send(t, h, http.MethodPost, "/ims/api/v1/access_keys/login", "", body)
	var got tokens
	noError(t, json.Unmarshal(rec.Body.Bytes(), &got))
	if rec.Code != http.StatusOK || got.Token == "" || got.Refresh == "" {
		t.Fatalf("got %d %s", rec.Code, rec.Body)
	}
	return got
}

// TestForgedTokens: whatever the server has not signed, in the one way in which it
// signs, is refused.
func TestForgedTokens(t *testing.T) {
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	k, body := newAccess(t, w, "ada")
	good := logIn(t, h, body).Token
	var login struct {
		ID int64 `json:"session_id"`
	}
	parts := strings.Split(good, ".")
	said, err := base64.RawURLEncoding.DecodeString(parts[1])
	noError(t, err)
	noError(t, json.Unmarshal(said, &login))
	now := w.Now()
	claims := func(change func(c jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{
			"iss": "holdfast", "sub": "ada", "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
			"tenant_id": 1001, "session_id": login.ID, "access_key_id": int64(k.ID), "permissions": []string{},
		}
		if change != nil {
			change(c)
		}
		return c
	}
	sign := func(m jwt.SigningMethod, key any, c jwt.Claims, head ...string) string {
		token := jwt.NewWithClaims(m, c)
		for i := 0; i < len(head); i += 2 {
			token.Header[head[i]] = head[i+1]
		}
		text, err := token.SignedString(key)
		noError(t, err)
		return text
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	noError(t, err)
	key := tokenKey()
	for _, c := range []struct {
		name, token string
		want        int
	}{
		{"the one of the log-in", good, http.StatusOK},
		{"one that says the same", sign(jwt.SigningMethodHS256, key, claims(nil)), http.StatusOK},
		{"none", sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, claims(nil)), http.StatusUnauthorized},
		{"another key", sign(jwt.SigningMethodHS256, []byte("another key of thirty-two bytes!"), claims(nil)), http.StatusUnauthorized},
		{"an empty key", sign(jwt.SigningMethodHS256, []byte{}, claims(nil)), http.StatusUnauthorized},
		{"HS512", sign(jwt.SigningMethodHS512, key, claims(nil)), http.StatusUnauthorized},
		{"RS256", sign(jwt.SigningMethodRS256, private, claims(nil)), http.StatusUnauthorized},
		{"no signature", parts[0] + "." + parts[1] + ".", http.StatusUnauthorized},
		{"another body", parts[0] + "." + strings.Split(sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["sub"] = "eve" })), ".")[1] + "." + parts[2], http.StatusUnauthorized},
		{"no end", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { delete(c, "exp") })), http.StatusUnauthorized},
		{"an end that is over", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["exp"] = now.Add(-61 * time.Second).Unix() })), http.StatusUnauthorized},
		{"an end within the skew", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["exp"] = now.Add(-59 * time.Second).Unix() })), http.StatusOK},
		{"made later", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["iat"] = now.Add(61 * time.Second).Unix() })), http.StatusUnauthorized},
		{"another issuer", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["iss"] = "somebody" })), http.StatusUnauthorized},
		{"another account", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["tenant_id"] = 1002 })), http.StatusUnauthorized},
		{"every account", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["tenant_id"] = 0 })), http.StatusUnauthorized},
		{"a log-in that nobody has", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["session_id"] = 9999 })), http.StatusUnauthorized},
		{"a token of another kind", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["session_id"] = 1001 })), http.StatusUnauthorized},
		{"an access key instead of a log-in", sign(jwt.SigningMethodHS256, key, claims(func(c jwt.MapClaims) { c["session_id"] = int64(k.ID) })), http.StatusUnauthorized},
		{"a critical header", sign(jwt.SigningMethodHS256, key, claims(nil), "crit", "exp"), http.StatusUnauthorized},
		{"too long", good + strings.Repeat("A", 8<<10), http.StatusUnauthorized},
	} {
		if rec := send(t, h, http.MethodGet, listPath, c.token, ""); rec.Code != c.want {
			t.Errorf("%s: got %d %s, want %d", c.name, rec.Code, rec.Body, c.want)
		}
	}
	again := bmcetl.Handler(bmcetl.Config{Service: w.Service, Key: tokenKey(), Version: "test", Now: w.Now, Log: w.Log})
	if rec := send(t, again, http.MethodGet, listPath, good, ""); rec.Code != http.StatusOK {
		t.Errorf("another server with the same key: got %d %s", rec.Code, rec.Body)
	}
}

// TestEndOfALogin: a token does not outlive its access key, or its user.
func TestEndOfALogin(t *testing.T) {
	for name, end := range map[string]func(w *apitest.World, local holdfast.Actor, k service.UserKey) error{
		"revoked": func(w *apitest.World, local holdfast.Actor, k service.UserKey) error {
			return w.Service.RevokeAccessKey(t.Context(), local, k.ID)
		},
		"user disabled": func(w *apitest.World, local holdfast.Actor, k service.UserKey) error {
			_, err := w.Service.DisableUser(t.Context(), local, k.Principal)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := apitest.NewWorld(t)
			h := handlerOf(w)
			k, body := newAccess(t, w, "ada")
			got := logIn(t, h, body)
			local, err := w.Service.LocalActor(t.Context(), "test", "")
			noError(t, err)
			if rec := send(t, h, http.MethodGet, listPath, got.Token, ""); rec.Code != http.StatusOK {
				t.Fatalf("got %d %s before the end", rec.Code, rec.Body)
			}
			noError(t, end(w, local, k))
			if rec := send(t, h, http.MethodGet, listPath, got.Token, ""); rec.Code != http.StatusUnauthorized {
				t.Errorf("got %d %s with the token", rec.Code, rec.Body)
			}
			if rec := send(t, h, http.MethodPost, "/ims/api/v1/auth/tokens", "", `{"token":"`+got.Refresh+`"}`); rec.Code != http.StatusUnauthorized {
				t.Errorf("got %d %s for a renewal", rec.Code, rec.Body)
			}
			if rec := send(t, h, http.MethodPost, "/ims/api/v1/access_keys/login", "", body); rec.Code != http.StatusUnauthorized {
				t.Errorf("got %d %s for a log-in", rec.Code, rec.Body)
			}
		})
	}
}

// TestADisabledUsersLogIns: who is let in again has to log in anew, and the last
// token of a log-in ends with it.
func TestADisabledUsersLogIns(t *testing.T) {
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	k, body := newAccess(t, w, "ada")
	local, err := w.Service.LocalActor(t.Context(), "test", "")
	noError(t, err)
	before := logIn(t, h, body)
	_, err = w.Service.DisableUser(t.Context(), local, k.Principal)
	noError(t, err)
	_, err = w.Service.EnableUser(t.Context(), local, k.Principal)
	noError(t, err)
	renew := func(s tokens) (int, string) {
		t.Helper()
		rec := send(t, h, http.MethodPost, "/ims/api/v1/auth/tokens", "", `{"token":"`+s.Refresh+`"}`)
		return rec.Code, rec.Body.String()
	}
	if rec := send(t, h, http.MethodGet, listPath, before.Token, ""); rec.Code != http.StatusUnauthorized {
		t.Errorf("got %d %s with a token from before", rec.Code, rec.Body)
	}
	if code, text := renew(before); code != http.StatusUnauthorized {
		t.Errorf("got %d %s for a renewal of a log-in from before", code, text)
	}
	after := logIn(t, h, body)
	if rec := send(t, h, http.MethodGet, listPath, after.Token, ""); rec.Code != http.StatusOK {
		t.Errorf("got %d %s with a new token", rec.Code, rec.Body)
	}
	noError(t, w.Give(t.Context(), "clock 23h50m"))
	if code, text := renew(after); code != http.StatusOK || !strings.Contains(text, `"expires_in":600`) {
		t.Errorf("got %d %s, want a token for the ten minutes that are left", code, text)
	}
}

// TestLockedLogIn: after too many wrong secrets the right one is refused, too.
func TestLockedLogIn(t *testing.T) {
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	k, body := newAccess(t, w, "ada")
	const path = "/ims/api/v1/access_keys/login"
	wrong := `{"access_key":"` + string(k.PublicKey) + `","access_secret_key":"wrong"}`
	for range 4 {
		if rec := send(t, h, http.MethodPost, path, "", wrong); rec.Code != http.StatusUnauthorized || rec.Header().Get("Www-Authenticate") == "" {
			t.Fatalf("got %d %s", rec.Code, rec.Body)
		}
	}
	for _, b := range []string{wrong, body} {
		if rec := send(t, h, http.MethodPost, path, "", b); rec.Code != http.StatusTooManyRequests || rec.Header().Get("Retry-After") != "900" {
			t.Errorf("got %d %s %s, want it locked", rec.Code, rec.Header(), rec.Body)
		}
	}
	noError(t, w.Give(t.Context(), "clock 15m"))
	logIn(t, h, body)
}
