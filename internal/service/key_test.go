package service_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// publicPEM is the public half of a key that nobody kept.
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

// keyPair makes an RSA key and the PEM of its public half.
func keyPair(t testing.TB, bits int) (*rsa.PrivateKey, []byte) {
	t.Helper()
	key := must(rsa.GenerateKey(rand.Reader, bits))(t)
	der := must(x509.MarshalPKIXPublicKey(&key.PublicKey))(t)
	return key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func newKey(r *rig) int64 {
	k := must(r.svc.AddKey(r.t.Context(), r.admin, service.NewKey{User: holdfast.PrincipalID(newUser(r)), Name: newName(), PEM: []byte(publicPEM)}))(r.t)
	return int64(k.ID)
}

func newPAT(r *rig) int64 {
	k, _, err := r.svc.CreatePAT(r.t.Context(), r.admin, service.NewPAT{User: holdfast.PrincipalID(newUser(r))})
	if err != nil {
		r.t.Fatal(err)
	}
	return int64(k.ID)
}

func TestSignedToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	u := r.user("ada")
	key, text := keyPair(t, 2048)
	must(r.svc.AddKey(ctx, r.admin, service.NewKey{User: u.ID, Name: "laptop", PEM: text}))(t)
	_, pat, err := r.svc.CreatePAT(ctx, r.admin, service.NewPAT{User: u.ID, Role: holdfast.RoleReader})
	if err != nil {
		t.Fatal(err)
	}
	name := service.KeyName{Organisation: "default", User: "ada", Key: "laptop", PAT: pat}
	pub := must(r.svc.PublicKey(ctx, name))(t)
	if !pub.Equal(&key.PublicKey) {
		t.Error("got another key than ada's")
	}
	a := must(r.svc.AuthenticatePAT(ctx, service.PATProof{KeyName: name}, "api/x"))(t)
	if a.Principal.ID != u.ID || a.Credential.Role != holdfast.RoleReader || a.String() != "user ada" {
		t.Errorf("got actor %+v, want ada as a reader", a)
	}
}
