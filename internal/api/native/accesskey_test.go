package native_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// TestAccessKeyExchanges walks through access keys once; the golden file is read
// in review.
func TestAccessKeyExchanges(t *testing.T) {
	r := newRig(t)
	r.want(201, "POST", "/api/v1/users", `{"name":"ada","role":"operator"}`)
	r.want(201, "POST", "/api/v1/access-keys", `{"user":"ada","name":"night","role":"reader","expires":"2026-12-31T00:00:00Z"}`)
	r.want(409, "POST", "/api/v1/access-keys", `{"user":"ada","name":"night"}`)
	r.want(400, "POST", "/api/v1/access-keys", `{"user":"ada","name":"day","role":"admin"}`)
	r.want(404, "POST", "/api/v1/access-keys", `{"user":"nobody","name":"day"}`)
	r.want(201, "POST", "/api/v1/accounts", `{"name":"acme"}`)
	acme := []string{native.AccountHeader, "acme"}
	r.want(200, "GET", "/api/v1/access-keys", "", acme...)
	r.want(404, "DELETE", "/api/v1/access-keys/1002", "", acme...)
	r.want(204, "DELETE", "/api/v1/access-keys/1002", "")
	r.want(200, "GET", "/api/v1/access-keys?user=ada", "")
	r.golden("accesskeys")
}
