package apitest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// secrets are random texts that golden files hold by a name: {access1}, {secret1},
// {jwt1}, {refresh1}, {sealed1}.
type secrets struct {
	known map[string][]string // by the first part of the name
}

func (s *secrets) add(kind, text string) int {
	if s.known == nil {
		s.known = map[string][]string{}
	}
	if i := slices.Index(s.known[kind], text); i >= 0 {
		return i + 1
	}
	s.known[kind] = append(s.known[kind], text)
	return len(s.known[kind])
}

// randomTexts matches what no golden file can hold because it differs each time.
var randomTexts = map[string]*regexp.Regexp{
	"jwt":     regexp.MustCompile(`eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`),
	"refresh": regexp.MustCompile(`hfr_[a-z2-7]{52}`),
	"sealed":  regexp.MustCompile(`hfenc1:[A-Za-z0-9+/]+`),
}

// name puts names in the place of random texts.
func (s *secrets) name(lines []string) []string {
	for i, line := range lines {
		for kind, re := range randomTexts {
			line = re.ReplaceAllStringFunc(line, func(text string) string { return fmt.Sprintf("{%s%d}", kind, s.add(kind, text)) })
		}
		for kind, list := range s.known {
			for n, text := range list {
				line = strings.ReplaceAll(line, text, fmt.Sprintf("{%s%d}", kind, n+1))
			}
		}
		lines[i] = line
	}
	return lines
}

// fill is the inverse of name.
func (s *secrets) fill(text string) string {
	for kind, list := range s.known {
		for n, secret := range list {
			text = strings.ReplaceAll(text, fmt.Sprintf("{%s%d}", kind, n+1), secret)
		}
	}
	return text
}
