package commvault

import "testing"

func TestPlainPassword(t *testing.T) {
	for _, c := range []struct{ sent, want string }{
		{"Y29ycmVjdCBob3JzZQ==", "correct horse"},
		{"w6TDtsO8", "äöü"},
		{"correct horse", "correct horse"},
		{"password", "password"}, // base64 of bytes that are no text
		{"Passw0rd!", "Passw0rd!"},
		{"AAAA", "AAAA"}, // base64 of bytes that nobody types
		{"", ""},
		{"Y29ycmVjdA", "Y29ycmVjdA"}, // not padded: as it is
	} {
		if got := plainPassword(c.sent); got != c.want {
			t.Errorf("%q: got %q, want %q", c.sent, got, c.want)
		}
	}
}

func TestReadLoginXML(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       loginRequest
		ok         bool
	}{
		{"all", `<DM2ContentIndexing_CheckCredentialReq username="u" password="p" timeOut="5" domain="d" deviceId="x"/>`, loginRequest{"u", "p", "d", "x", 5}, true},
		{"any letter case", `<dm2contentindexing_checkcredentialreq UserName="u" PASSWORD="p"/>`, loginRequest{User: "u", Password: "p"}, true},
		{"with a head", `<?xml version="1.0" encoding="UTF-8"?><!-- c --><DM2ContentIndexing_CheckCredentialReq username="u"></DM2ContentIndexing_CheckCredentialReq>`, loginRequest{User: "u"}, true},
		{"XML's own entities", `<DM2ContentIndexing_CheckCredentialReq username="a&amp;b" password="&#x41;"/>`, loginRequest{User: "a&b", Password: "A"}, true},
		{"another element", `<LoginReq username="u"/>`, loginRequest{}, false},
		{"a type definition", `<!DOCTYPE x><DM2ContentIndexing_CheckCredentialReq username="u"/>`, loginRequest{}, false},
		{"an entity that is not declared", `<DM2ContentIndexing_CheckCredentialReq username="&u;"/>`, loginRequest{}, false},
		{"a timeout that is no number", `<DM2ContentIndexing_CheckCredentialReq timeOut="soon"/>`, loginRequest{}, false},
		{"cut off", `<DM2ContentIndexing_CheckCredentialReq username="u"`, loginRequest{}, false},
		{"nothing", `<`, loginRequest{}, false},
	} {
		got, isXML, err := readLogin([]byte(c.body))
		if !isXML || (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("%s: got %+v, %v (XML: %v), want %+v", c.name, got, err, isXML, c.want)
		}
	}
}
