package apitest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// CheckDocument holds golden files and the document of their dialect together:
// the document names every file, or a pattern that its name fits, and every
// exchange cites a section that exists, as "source: docs/api/x.md#section
// (documented)", inferred or proposed. doc is the document's path below the root
// of the module, from which the test's package is three directories away.
func CheckDocument(t *testing.T, doc string, patterns ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", doc))
	check(t, err)
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		sections[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	var named []string
	for _, m := range regexp.MustCompile("`([a-z0-9_*-]+)`").FindAllStringSubmatch(string(text), -1) {
		named = append(named, m[1])
	}
	cited := regexp.MustCompile(`source: ` + regexp.QuoteMeta(doc) + `#([a-z0-9-]+) \((documented|inferred|proposed)\)`)
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no golden file matches %s (%v)", pattern, err)
		}
		for _, file := range files {
			if !fits(named, strings.TrimSuffix(filepath.Base(file), ".txt")) {
				t.Errorf("the document does not name %s", file)
			}
			checkSources(t, file, cited, sections)
		}
	}
}

func fits(named []string, name string) bool {
	for _, pattern := range named {
		if ok, err := filepath.Match(pattern, name); err == nil && ok {
			return true
		}
	}
	return false
}

func checkSources(t *testing.T, file string, cited *regexp.Regexp, sections map[string]bool) {
	t.Helper()
	text, err := os.ReadFile(file)
	check(t, err)
	found := cited.FindAllStringSubmatch(string(text), -1)
	if want := strings.Count(string(text), "-- request --"); len(found) != want {
		t.Errorf("%s: %d of %d exchanges cite their source", file, len(found), want)
	}
	for _, m := range found {
		if !sections[m[1]] {
			t.Errorf("%s cites the section %s, which does not exist", file, m[1])
		}
	}
}
