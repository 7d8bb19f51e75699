package baas

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// credentialsHeader carries the caller's login to the database that is restored
// to.
const credentialsHeader = "X-Auth-Credentials"

// checkCredentials checks the form of the caller's database login, if there is
// one. A restore of files logs in nowhere, so it is read here and kept
// nowhere: no value derived from it leaves this function.
func checkCredentials(h http.Header) error {
	v, given := h[credentialsHeader]
	if !given {
		return nil
	}
	if len(v) == 1 {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(v[0]), " ")
		if user, _, ok := basicPair(strings.TrimSpace(rest)); ok && user != "" && strings.EqualFold(scheme, "Basic") {
			return nil
		}
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "the header x-auth-credentials is malformed").
		WithHint("send Basic, a blank, and the base64 of user:password; or leave the header out")
}

// basicPair reads base64 of user:password in either alphabet, padded or not.
func basicPair(s string) (user, password string, ok bool) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return "", "", false
	}
	return strings.Cut(string(b), ":")
}
