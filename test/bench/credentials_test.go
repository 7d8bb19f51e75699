package bench

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// credentials are how requests say who asks. All of them are an administrator's.
type credentials struct {
	every   string // access token of every site
	some    string // access token of a hundred sites
	signed  string // token that a client of Lake has signed itself
	session string // session of Commvault's log-in
}

// admit makes the credentials of a run.
func (w *world) admit(ctx context.Context, r *rig) {
	r.t.Helper()
	name := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	w.every = r.run("token", "create", name+"-every", "--role", "admin")
	args := []string{"token", "create", name + "-some", "--role", "admin"}
	for i, s := range w.sites {
		if i > 0 && i%9 == 0 {
			args = append(args, "--site", s)
		}
	}
	w.some = r.run(args...)
	const password = "a password of the measure"
	r.feed(password+"\n", "user", "create", name, "--role", "admin", "--password-stdin")
	key := filepath.Join(r.t.TempDir(), "key.pem")
	r.run("key", "create", name, "laptop", "--out", key)
	w.signed = sign(r, key, name, r.run("pat", "create", name, "--role", "admin"))
	w.session = logIn(ctx, r, w.url, name, password)
}

// sign makes a token as docs/api/lake.md describes it.
func sign(r *rig, keyFile, user, pat string) string {
	r.t.Helper()
	text, err := os.ReadFile(keyFile)
	noError(r.t, err)
	block, _ := pem.Decode(text)
	if block == nil {
		r.t.Fatalf("%s holds no key", keyFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	noError(r.t, err)
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"aud": []string{"td:service:authentication"}, "iat": now, "exp": now + 12*3600, "iss": "bench", "org_key": "default",
		"multi-use": true, "pat": pat, "sub": user,
	})
	noError(r.t, err)
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"RS256","typ":"JWT","kid":"laptop"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, parsed.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	noError(r.t, err)
	return signed + "." + encode(signature)
}

// logIn opens a session as docs/api/commvault.md describes it.
func logIn(ctx context.Context, r *rig, base, user, password string) string {
	r.t.Helper()
	body, err := json.Marshal(map[string]any{
		"username": user, "password": base64.StdEncoding.EncodeToString([]byte(password)), "timeout": 1440,
	})
	noError(r.t, err)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+commandCenter+"/Login", bytes.NewReader(body))
	noError(r.t, err)
	resp, err := http.DefaultClient.Do(req)
	noError(r.t, err)
	defer resp.Body.Close()
	var out struct {
		Token string `json:"token"`
	}
	noError(r.t, json.NewDecoder(resp.Body).Decode(&out))
	if out.Token == "" {
		r.t.Fatalf("no session for %s", user)
	}
	return out.Token
}
