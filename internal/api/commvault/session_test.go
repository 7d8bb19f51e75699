package commvault_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
)

// client sends requests to the dialect, and reads its answers.
type client struct {
	t     *testing.T
	h     http.Handler
	token string // as the header Authtoken has it; empty: none
}

// do returns the status and the members of an answer, which must be JSON.
func (c client) do(method, path, body string) (int, map[string]any) {
	c.t.Helper()
	r := httptest.NewRequestWithContext(c.t.Context(), method, "/commandcenter/api"+path, strings.NewReader(body))
	if c.token != "" {
		r.Header.Set("Authtoken", c.token)
	}
	rec := httptest.NewRecorder()
	c.h.ServeHTTP(rec, r)
	var reply any
	if err := json.Unmarshal(rec.Body.Bytes(), &reply); err != nil {
		c.t.Fatalf("%s %s: got %d %q, which is not JSON", method, path, rec.Code, rec.Body)
	}
	members, _ := reply.(map[string]any)
	return rec.Code, members
}

// login returns what Login answers.
func (c client) login(user, password string) map[string]any {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{
		"mode": 4, "username": user, "password": base64.StdEncoding.EncodeToString([]byte(password)), "deviceId": "laptop", "clientType": 30,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	status, reply := c.do(http.MethodPost, "/Login", string(body))
	if status != http.StatusOK {
		c.t.Fatalf("Login: got %d %v, want 200", status, reply)
	}
	return reply
}

func give(t testing.TB, w *apitest.World, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := w.Give(t.Context(), line); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAUserIsLockedOut(t *testing.T) {
	w := apitest.NewWorld(t)
	give(t, w, "user alice reader")
	c := client{t: t, h: handlerOf(w)}
	const tries = 5 // what service takes
	for n := range tries {
		reply := c.login("alice", "wrong")
		if locked := n == tries-1; reply["isAccountLocked"] != locked || (reply["remainingLockTime"] != 0.0) != locked || reply["token"] != nil {
			t.Errorf("failure %d: got %v", n+1, reply)
		}
	}
	give(t, w, "clock 5m")
	reply := c.login("alice", apitest.Password)
	if reply["isAccountLocked"] != true || reply["remainingLockTime"] != 600.0 || reply["token"] != nil {
		t.Errorf("the right password of a locked user: got %v, want no token and 600 seconds", reply)
	}
	if reply := c.login("bob", "wrong"); reply["isAccountLocked"] != false {
		t.Errorf("another name: got %v, want it not locked", reply)
	}
	give(t, w, "clock 10m1s")
	if reply := c.login("alice", apitest.Password); reply["token"] == nil {
		t.Errorf("after the lock: got %v, want a token", reply)
	}
}

func TestTheTokenIsReadHoweverItIsSent(t *testing.T) {
	w := apitest.NewWorld(t)
	give(t, w, "user alice reader")
	h := handlerOf(w)
	session, _ := client{t: t, h: h}.login("alice", apitest.Password)["token"].(string)
	bare, ok := strings.CutPrefix(session, "QSDK ")
	if !ok || strings.Trim(bare, "0123456789abcdef") != "" {
		t.Fatalf("the token is %q, want QSDK and hexadecimal digits", session)
	}
	admin := w.Token("admin")
	for _, c := range []struct {
		header, value string
		want          int
	}{
		{"Authtoken", session, 200},
		{"AUTHTOKEN", bare, 200},
		{"authtoken", "SAML " + bare, 200},
		{"Authtoken", "bearer  " + bare, 200},
		{"Authtoken", " qsdk " + bare + " ", 200},
		{"Authorization", "Bearer " + bare, 200},
		{"Authorization", session, 200},
		{"Authtoken", admin, 200},
		{"Authtoken", "QSDK " + admin, 200},
		{"Authorization", "Bearer " + admin, 200},
		{"Authtoken", "", 401},
		{"Authtoken", "QSDK", 401},
		{"Authtoken", "Basic " + bare, 401},
		{"Authtoken", bare[2:], 401},
		{"Authtoken", bare + "00", 401},
		{"Authtoken", "hf_" + bare, 401},
		{"Authtoken", strings.ToUpper(bare) + "Z", 401},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webconsole/api/WhoAmI", nil)
		r.Header.Set(c.header, c.value)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != c.want {
			t.Errorf("%s: %.20q…: got %d %s, want %d", c.header, c.value, rec.Code, rec.Body, c.want)
		}
	}
}
