package baaslake_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// signer is a user with a key and a personal access token.
type signer struct {
	t     *testing.T
	w     *apitest.World
	h     http.Handler
	local holdfast.Actor
	user  service.User
	key   *rsa.PrivateKey
	keyID holdfast.CredentialID
	patID holdfast.CredentialID
	pat   string
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	s := &signer{t: t, w: apitest.NewWorld(t)}
	s.h = newHandler(s.w)
	var err error
	s.local, err = s.w.Service.LocalActor(t.Context(), "apitest", "")
	s.check(err)
	s.user, err = s.w.Service.CreateUser(t.Context(), s.local, service.NewUser{
		Name: "backup", Role: holdfast.RoleOperator, Password: holdfast.NewSecret("correct horse battery"),
	})
	s.check(err)
	s.key = newKey(t)
	k, err := s.w.Service.AddKey(t.Context(), s.local, service.NewKey{User: s.user.ID, Name: "laptop", PEM: publicPEM(t, s.key)})
	s.check(err)
	p, secret, err := s.w.Service.CreatePAT(t.Context(), s.local, service.NewPAT{User: s.user.ID, Idle: time.Hour})
	s.check(err)
	s.keyID, s.patID, s.pat = k.ID, p.ID, secret.Reveal()
	return s
}

func (s *signer) check(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%v (%s)", err, holdfast.ErrorHint(err))
	}
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicPEM(t *testing.T, key *rsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// claims are those of the page's sample.
func (s *signer) claims() jwt.MapClaims {
	now := s.w.Now().Unix()
	return jwt.MapClaims{
		"aud": []string{"td:service:authentication"}, "iat": now, "exp": now + 3600, "iss": "wiki", "org_key": "default",
		"multi-use": true, "pat": s.pat, "sub": "backup",
	}
}

func (s *signer) sign(method jwt.SigningMethod, key any, kid any, c jwt.MapClaims) string {
	s.t.Helper()
	token := jwt.NewWithClaims(method, c)
	token.Header["kid"] = kid
	text, err := token.SignedString(key)
	s.check(err)
	return text
}

// token is what the page's script signs, with some claims changed; nil takes one
// away.
func (s *signer) token(change jwt.MapClaims) string {
	c := s.claims()
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return s.sign(jwt.SigningMethodRS256, s.key, "laptop", c)
}

// critical signs the page's claims below a header that must be understood.
func (s *signer) critical(name string) string {
	s.t.Helper()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, s.claims())
	token.Header["kid"], token.Header["crit"], token.Header[name] = "laptop", []string{name}, true
	text, err := token.SignedString(s.key)
	s.check(err)
	return text
}

// get asks which organisation the bearer belongs to.
func (s *signer) get(token string) (int, string) {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), http.MethodGet, "/api/my-organization", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	s.h.ServeHTTP(rec, r)
	var body struct {
		Message string `json:"message"`
	}
	s.check(json.Unmarshal(rec.Body.Bytes(), &body))
	return rec.Code, body.Message
}

func (s *signer) want(what, token string, status int) {
	s.t.Helper()
	if got, message := s.get(token); got != status {
		s.t.Errorf("%s: got %d %q, want %d", what, got, message, status)
	}
}

const (
	good    = http.StatusOK
	refused = http.StatusUnauthorized
)

// TestTokens is the table of docs/api/lake.md, "Tokens" (A-18, §2.2).
func TestTokens(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	now := s.w.Now().Unix()
	for _, c := range []struct {
		name   string
		change jwt.MapClaims
		want   int
	}{
		{"as the page signs it", nil, good},
		{"aud is a text", jwt.MapClaims{"aud": "td:service:authentication"}, good},
		{"aud names others too", jwt.MapClaims{"aud": []string{"other", "td:service:authentication"}}, good},
		{"aud is another's", jwt.MapClaims{"aud": []string{"other"}}, refused},
		{"no aud", jwt.MapClaims{"aud": nil}, refused},
		{"A-18: org_id, a name", jwt.MapClaims{"org_key": nil, "org_id": "default"}, good},
		{"A-18: org_id, a number", jwt.MapClaims{"org_key": nil, "org_id": "1001"}, good},
		{"A-18: both alike", jwt.MapClaims{"org_id": "default"}, good},
		{"A-18: both, and they differ", jwt.MapClaims{"org_id": "other"}, refused},
		{"A-18: neither", jwt.MapClaims{"org_key": nil}, refused},
		{"another organisation", jwt.MapClaims{"org_key": "other"}, refused},
		{"A-18: any iss", jwt.MapClaims{"iss": "tdmodelops"}, good},
		{"A-18: no iss", jwt.MapClaims{"iss": nil}, good},
		{"another user", jwt.MapClaims{"sub": "other"}, refused},
		{"no user", jwt.MapClaims{"sub": nil}, refused},
		{"another pat", jwt.MapClaims{"pat": "hfpat_" + strings.Repeat("a", 52)}, refused},
		{"no pat", jwt.MapClaims{"pat": nil}, refused},
		{"expired", jwt.MapClaims{"iat": now - 3600, "exp": now - 61}, refused},
		{"expired within the leeway", jwt.MapClaims{"iat": now - 3600, "exp": now - 59}, good},
		{"no exp", jwt.MapClaims{"exp": nil}, refused},
		{"no iat", jwt.MapClaims{"iat": nil}, refused},
		{"of the future", jwt.MapClaims{"iat": now + 61}, refused},
		{"of the near future", jwt.MapClaims{"iat": now + 59}, good},
		{"not yet", jwt.MapClaims{"nbf": now + 120}, refused},
		{"12 hours, as Data Copy signs them", jwt.MapClaims{"exp": now + 12*3600}, good},
		{"24 hours", jwt.MapClaims{"exp": now + 24*3600}, good},
		{"longer than 24 hours", jwt.MapClaims{"exp": now + 24*3600 + 1}, refused},
		{"multi-use is a text", jwt.MapClaims{"multi-use": "true"}, refused},
		{"sub is a number", jwt.MapClaims{"sub": 7}, refused},
		{"times with fractions", jwt.MapClaims{"exp": float64(now) + 3600.5}, good},
		{"exp beyond every clock", jwt.MapClaims{"exp": 1e300}, refused},
		{"iat before every clock", jwt.MapClaims{"iat": -1e300}, refused},
	} {
		s.want(c.name, s.token(c.change), c.want)
	}

	claims := s.claims()
	for _, c := range []struct {
		name  string
		token string
		want  int
	}{
		{"kid with .pem", s.sign(jwt.SigningMethodRS256, s.key, "laptop.pem", claims), good},
		{"kid of nobody", s.sign(jwt.SigningMethodRS256, s.key, "desktop", claims), refused},
		{"kid is a number", s.sign(jwt.SigningMethodRS256, s.key, 7, claims), refused},
		{"another key", s.sign(jwt.SigningMethodRS256, newKey(t), "laptop", claims), refused},
		{"alg none", s.sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, "laptop", claims), refused},
		{"alg HS256 with the public key as its secret", s.sign(jwt.SigningMethodHS256, publicPEM(t, s.key), "laptop", claims), refused},
		{"alg RS512", s.sign(jwt.SigningMethodRS512, s.key, "laptop", claims), refused},
		{"alg PS256", s.sign(jwt.SigningMethodPS256, s.key, "laptop", claims), refused},
		{"a critical header that nobody understands", s.critical("b64"), refused},
		{"no signature", s.token(nil)[:strings.LastIndexByte(s.token(nil), '.')+1], refused},
		{"padded", s.token(nil) + "=", refused},
		{"no JSON", "a.b.c", refused},
		{"very long", s.token(jwt.MapClaims{"more": strings.Repeat("x", 20000)}), refused},
		{"a token of ours", s.w.Token("reader"), good},
		{"an expired token of ours", s.w.Token("expired"), good}, // the world's clock has not moved yet
	} {
		s.want(c.name, c.token, c.want)
	}
}

// TestASingleUse is A-44, and the default when multi-use is absent.
func TestASingleUse(t *testing.T) {
	t.Parallel()
	s := newSigner(t)
	for name, change := range map[string]jwt.MapClaims{
		"false":      {"multi-use": false},
		"absent":     {"multi-use": nil, "nonce": 1},
		"with a jti": {"multi-use": false, "jti": "one"},
	} {
		token := s.token(change)
		s.want(name, token, good)
		status, message := s.get(token)
		if status != refused || !strings.Contains(message, "used before") {
			t.Errorf("%s, again: got %d %q, want 401 that says so", name, status, message)
		}
		s.h = newHandler(s.w) // as after a restart
		s.want(name+", after a restart", token, refused)
	}
	s.want("another jti in the same second", s.token(jwt.MapClaims{"multi-use": false, "jti": "two"}), good)
	s.want("the same jti with other claims", s.token(jwt.MapClaims{"multi-use": false, "jti": "two", "iss": "other"}), refused)
	many := s.token(nil)
	s.want("multi-use", many, good)
	s.want("multi-use, again", many, good)
}

// TestEndOfAUser: no token outlives its user, its key or its token.
func TestEndOfAUser(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, end := range map[string]func(s *signer) error{
		"disabled user": func(s *signer) error {
			_, err := s.w.Service.DisableUser(ctx, s.local, s.user.ID)
			return err
		},
		"revoked key": func(s *signer) error { return s.w.Service.RevokeKey(ctx, s.local, s.keyID) },
		"revoked pat": func(s *signer) error { return s.w.Service.RevokePAT(ctx, s.local, s.patID) },
		"idle for more than an hour": func(s *signer) error {
			return s.w.Give(ctx, "clock 62m")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSigner(t)
			life := jwt.MapClaims{"exp": s.w.Now().Unix() + 20000}
			token := s.token(life)
			s.want("before", token, good)
			s.check(end(s))
			s.want("after", token, refused)
		})
	}
	t.Run("used every half hour", func(t *testing.T) {
		t.Parallel()
		s := newSigner(t)
		token := s.token(jwt.MapClaims{"exp": s.w.Now().Unix() + 20000})
		for range 6 {
			s.want("in use", token, good)
			s.check(s.w.Give(ctx, "clock 30m"))
		}
	})
}
