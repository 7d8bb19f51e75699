package service_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// publicPEM is the public half of a key of 2048 bits that nobody kept.
const publicPEM = `-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAr0IzZcrkQF/a5WpCzqR+
FfMqK62lAZ8lvNI9Prtw2QnORU8V2l1N7fKGJb80gLOLNke0TIBFjeqQKQG/GMx3
A7CqK4SskgrUwTkf2Pv6da0qzzhJ1EVvzcE80c9Lp0/6zo9GaYvhwWxKB8vxXG8Z
RYthb8QxCqY7yIu0qV8Nt0zEEZefwU7+GksRkv2Cq9kHn07fR2I7midhrqFvr7t1
oauLa1zVoQC/dGretnBIu7KP6WjeQ30ECTW/K85NuC84sScYZeZsiwQjHvBD30a0
/2AGjNE13FO2OiIQuY8h940DSljivvilzMuRIEnpgRxKblA6R1j9DYiIgBjXgcsi
GwIDAQAB
-----END PUBLIC KEY-----
`

// encode writes one block of PEM.
func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// keyPair returns a public RSA key of its own, and its PEM. Nobody has the other
// half: a signature is none of the service's business.
func keyPair(t testing.TB, bits int) (*rsa.PublicKey, []byte) {
	t.Helper()
	n := must(rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits))))(t)
	n.SetBit(n, bits-1, 1).SetBit(n, 0, 1)
	key := &rsa.PublicKey{N: n, E: 65537}
	return key, encode("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(key))(t))
}

func newKey(r *rig) int64 {
	in := service.NewKey{User: holdfast.PrincipalID(newUser(r)), Name: newName(), PEM: []byte(publicPEM)}
	return int64(must(r.svc.AddKey(r.t.Context(), r.admin, in))(r.t).ID)
}

// addKey takes a new key for a user.
func (r *rig) addKey(u service.User, name string) (service.UserKey, *rsa.PublicKey) {
	r.t.Helper()
	key, text := keyPair(r.t, 2048)
	return must(r.svc.AddKey(r.t.Context(), r.admin, service.NewKey{User: u.ID, Name: name, PEM: text}))(r.t), key
}

// key returns a user's key that is in use.
func (r *rig) key(u service.User, name string) *rsa.PublicKey {
	r.t.Helper()
	for _, k := range must(r.svc.Keys(r.t.Context(), r.admin))(r.t) {
		if k.Principal == u.ID && k.Name == name && k.Revoked.IsZero() {
			return must(x509.ParsePKIXPublicKey(k.PublicKey))(r.t).(*rsa.PublicKey)
		}
	}
	r.t.Fatalf("user %s has no key %s", u.Name, name)
	return nil
}

func TestAddKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	u, eve := r.user("ada"), r.user("eve")
	key, text := keyPair(t, 2048)
	k := must(r.svc.AddKey(ctx, r.admin, service.NewKey{User: u.ID, Name: "laptop", PEM: text}))(t)
	if k.User != "ada" || k.Name != "laptop" || k.Kind != holdfast.CredentialKey || k.Role != "" || k.Hash != nil || !r.key(u, "laptop").Equal(key) {
		t.Errorf("got key %+v", k)
	}
	// The other PEM form, and the longest name.
	pkcs1, _ := keyPair(t, 3072)
	must(r.svc.AddKey(ctx, r.admin, service.NewKey{
		User: u.ID, Name: strings.Repeat("ü", 128), PEM: encode("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(pkcs1)),
	}))(t)
	// Another user may have the same key, under the same name.
	must(r.svc.AddKey(ctx, r.admin, service.NewKey{User: eve.ID, Name: "laptop", PEM: text}))(t)

	_, small := keyPair(t, 2047)
	curve := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	private := must(x509.MarshalPKCS8PrivateKey(curve))(t)
	_, other := keyPair(t, 2048)
	even := *must(x509.ParsePKIXPublicKey(decoded(text)))(t).(*rsa.PublicKey)
	even.E = 65536
	for _, bad := range []struct {
		name string
		in   service.NewKey
		want holdfast.Code
		says string
	}{
		{"an unknown user", service.NewKey{User: unknown, Name: "x", PEM: other}, holdfast.CodeNotFound, "user 999999"},
		{"the owner of the socket", service.NewKey{User: r.admin.Principal.ID, Name: "x", PEM: other}, holdfast.CodeNotFound, "user"},
		{"no name", service.NewKey{User: u.ID, PEM: other}, holdfast.CodeInvalid, "name of a key"},
		{"a name of 129 characters", service.NewKey{User: u.ID, Name: strings.Repeat("x", 129), PEM: other}, holdfast.CodeInvalid, "name of a key"},
		{"a name with a new line", service.NewKey{User: u.ID, Name: "a\nb", PEM: other}, holdfast.CodeInvalid, "name of a key"},
		{"a name that ends with a blank", service.NewKey{User: u.ID, Name: "a ", PEM: other}, holdfast.CodeInvalid, "name of a key"},
		{"a name in use", service.NewKey{User: u.ID, Name: "laptop", PEM: other}, holdfast.CodeConflict, `key "laptop" already`},
		{"the same key again", service.NewKey{User: u.ID, Name: "x", PEM: text}, holdfast.CodeConflict, "this key"},
		{"nothing", service.NewKey{User: u.ID, Name: "x"}, holdfast.CodeInvalid, "not a public key"},
		{"no PEM", service.NewKey{User: u.ID, Name: "x", PEM: decoded(other)}, holdfast.CodeInvalid, "not a public key"},
		{"PEM of nonsense", service.NewKey{User: u.ID, Name: "x", PEM: encode("PUBLIC KEY", []byte("x"))}, holdfast.CodeInvalid, "not a public key"},
		{"a certificate", service.NewKey{User: u.ID, Name: "x", PEM: encode("CERTIFICATE", decoded(other))}, holdfast.CodeInvalid, "not a public key"},
		{"two keys", service.NewKey{User: u.ID, Name: "x", PEM: slices.Concat(other, text)}, holdfast.CodeInvalid, "more than one"},
		{"a private key", service.NewKey{User: u.ID, Name: "x", PEM: encode("PRIVATE KEY", private)}, holdfast.CodeInvalid, "a private key"},
		{"no RSA", service.NewKey{User: u.ID, Name: "x", PEM: encode("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&curve.PublicKey))(t))}, holdfast.CodeInvalid, "not an RSA key"},
		{"2047 bits", service.NewKey{User: u.ID, Name: "x", PEM: small}, holdfast.CodeInvalid, "2047 bits"},
		{"an even exponent", service.NewKey{User: u.ID, Name: "x", PEM: encode("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&even))}, holdfast.CodeInvalid, "exponent 65536"},
		{"a text that is too long", service.NewKey{User: u.ID, Name: "x", PEM: append([]byte(strings.Repeat(" ", 16<<10)), other...)}, holdfast.CodeInvalid, "longer than"},
	} {
		_, err := r.svc.AddKey(ctx, r.admin, bad.in)
		if holdfast.ErrorCode(err) != bad.want || !strings.Contains(holdfast.ErrorMessage(err), bad.says) {
			t.Errorf("%s: got %v, want %s with %q", bad.name, err, bad.want, bad.says)
		}
	}

	// A revoked key never comes back, but its name may.
	must(0, r.svc.RevokeKey(ctx, r.admin, k.ID))(t)
	after := r.lastEvent().ID
	must(0, r.svc.RevokeKey(ctx, r.admin, k.ID))(t)
	if n := len(r.events(after)); n != 0 {
		t.Errorf("got %d events for a key that is revoked already", n)
	}
	_, err := r.svc.AddKey(ctx, r.admin, service.NewKey{User: u.ID, Name: "again", PEM: text})
	wantCode(t, err, holdfast.CodeConflict)
	must(r.svc.AddKey(ctx, r.admin, service.NewKey{User: u.ID, Name: "laptop", PEM: other}))(t)
	if n := len(must(r.svc.Keys(ctx, r.admin))(t)); n != 4 {
		t.Errorf("got %d keys, want 4 with the revoked one", n)
	}
	for _, id := range []holdfast.CredentialID{unknown, holdfast.CredentialID(newPAT(r)), holdfast.CredentialID(newToken(r))} {
		wantCode(t, r.svc.RevokeKey(ctx, r.admin, id), holdfast.CodeNotFound)
	}
}

// decoded returns what is in a block of PEM.
func decoded(text []byte) []byte {
	block, _ := pem.Decode(text)
	return block.Bytes
}
