package bmcetl_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/bmcetl"
)

// send makes a request with a bearer; empty: none.
func send(t *testing.T, h http.Handler, method, target, bearer, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}

func TestOpenAPINamesEveryCall(t *testing.T) {
	w := apitest.NewWorld(t)
	rec := send(t, handlerOf(w), http.MethodGet, "/opt/api/backend/openapi.yaml/", w.Token("reader"), "")
	if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != "application/yaml; charset=utf-8" {
		t.Fatalf("got %d %s", rec.Code, rec.Header())
	}
	var doc struct {
		OpenAPI string                    `yaml:"openapi"`
		Paths   map[string]map[string]any `yaml:"paths"`
	}
	if err := yaml.Unmarshal(rec.Body.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for path, methods := range doc.Paths {
		for m := range methods {
			if m != "parameters" {
				described[strings.ToUpper(m)+" "+path] = true
			}
		}
	}
	for _, r := range bmcetl.Routes() {
		if name := r.Method + " " + r.Path; !described[name] {
			t.Errorf("the description lacks %s", name)
		} else {
			delete(described, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(described)) {
		t.Errorf("the description has %s, which is no call", name)
	}
	for _, m := range regexp.MustCompile(`\$ref: '#/components/([a-zA-Z]+)/([a-zA-Z]+)'`).FindAllStringSubmatch(rec.Body.String(), -1) {
		if !strings.Contains(rec.Body.String(), "\n    "+m[2]+":") {
			t.Errorf("the description refers to %s %s, which it lacks", m[1], m[2])
		}
	}
}

// TestEveryPathWithASlash: a script that prints a slash more reaches the same
// call, and nothing redirects it.
func TestEveryPathWithASlash(t *testing.T) {
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	for _, r := range bmcetl.Routes() {
		path := strings.NewReplacer("{etl}", "9999", "{configuration}", "9999", "{execution}", "9999", "{report}", "9999").Replace(r.Path)
		one := send(t, h, r.Method, path, w.Token("admin"), "")
		two := send(t, h, r.Method, path+"/", w.Token("admin"), "")
		if one.Code != two.Code || one.Body.String() != two.Body.String() || one.Code == http.StatusNotFound || one.Code/100 == 3 {
			t.Errorf("%s %s: got %d %s, and with a slash %d %s", r.Method, path, one.Code, one.Body, two.Code, two.Body)
		}
	}
}

// TestOnlyTheLogInIsOpen: without a token every other call is refused before
// anything is looked at.
func TestOnlyTheLogInIsOpen(t *testing.T) {
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	for _, r := range bmcetl.Routes() {
		path := strings.NewReplacer("{etl}", "x", "{configuration}", "x", "{execution}", "x", "{report}", "x").Replace(r.Path)
		rec := send(t, h, r.Method, path, "", "nonsense")
		if open := rec.Code != http.StatusUnauthorized; open != r.Open || r.Open && !strings.HasPrefix(r.Path, "/ims/") {
			t.Errorf("%s %s: got %d without a token", r.Method, path, rec.Code)
		}
	}
}

func TestTwoAuthorizationHeaders(t *testing.T) {
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	reader := "Bearer " + w.Token("reader")
	for _, c := range []struct {
		name   string
		values []string
		want   int
	}{
		{"the same one twice, as the page prints it", []string{reader, reader}, http.StatusOK},
		{"with blanks around it", []string{reader, "  " + reader + " "}, http.StatusOK},
		{"another one", []string{reader, "Bearer " + w.Token("admin")}, http.StatusBadRequest},
		{"nonsense, then a good one", []string{"nonsense", reader}, http.StatusBadRequest},
		{"an empty one", []string{reader, ""}, http.StatusBadRequest},
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/opt/api/v1/backend/etls", nil)
		r.Header["Authorization"] = c.values
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != c.want {
			t.Errorf("%s: got %d %s, want %d", c.name, rec.Code, rec.Body, c.want)
		}
	}
}

// TestDocumentNamesTestsThatExist: what cannot be a golden file.
func TestDocumentNamesTestsThatExist(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/api/bmc.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, name := range []string{"route_test.go", "token_test.go", "map_internal_test.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		tests.Write(b)
	}
	for _, m := range regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(string(doc), -1) {
		if !strings.Contains(tests.String(), fmt.Sprintf("func %s(", m[1])) {
			t.Errorf("the document names %s, which does not exist", m[1])
		}
	}
}
