package apitest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// exchange is one request, its answer and its effect, with what stands before
// them.
type exchange struct {
	comment  []string // lines that begin with #, and empty ones
	given    []string
	request  []string
	response []string
	domain   []string
}

// sections in the order in which they stand.
var sections = []string{"given", "request", "response", "domain"}

// parse reads a golden file. Sections after the request may be missing: an update
// writes them.
func parse(text string) ([]exchange, error) {
	var all []exchange
	current := ""
	for n, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		name, isMark := mark(line)
		starts := isMark && (name == "given" || (name == "request" && current != "given"))
		// A comment ends the domain section, and opens the next exchange.
		comment := current == "domain" && (strings.HasPrefix(line, "#") || line == "")
		switch {
		case comment || (len(all) == 0 && !isMark):
			if current != "" || len(all) == 0 {
				all, current = append(all, exchange{}), ""
			}
			if line != "" && !strings.HasPrefix(line, "#") {
				return nil, fmt.Errorf("line %d: %q stands before the first section", n+1, line)
			}
			all[len(all)-1].comment = append(all[len(all)-1].comment, line)
		case starts && current != "":
			all, current = append(all, exchange{}), name
		case isMark:
			if len(all) == 0 {
				all = append(all, exchange{})
			}
			if slices.Index(sections, name) <= slices.Index(sections, current) {
				return nil, fmt.Errorf("line %d: section %s after section %s", n+1, name, current)
			}
			current = name
		case current == "":
			all[len(all)-1].comment = append(all[len(all)-1].comment, line)
		default:
			s := all[len(all)-1].section(current)
			*s = append(*s, line)
		}
	}
	for i, e := range all {
		if len(e.request) == 0 {
			return nil, fmt.Errorf("exchange %d has no request", i+1)
		}
	}
	return all, nil
}

func mark(line string) (string, bool) {
	name := strings.TrimSuffix(strings.TrimPrefix(line, "-- "), " --")
	return name, line == "-- "+name+" --" && slices.Contains(sections, name)
}

func (e *exchange) section(name string) *[]string {
	switch name {
	case "given":
		return &e.given
	case "request":
		return &e.request
	case "response":
		return &e.response
	default:
		return &e.domain
	}
}

// format writes a golden file.
func format(all []exchange) string {
	var b strings.Builder
	for _, e := range all {
		write := func(name string, lines []string) {
			if name == "given" && len(lines) == 0 {
				return
			}
			if name != "" {
				fmt.Fprintf(&b, "-- %s --\n", name)
			}
			for _, l := range lines {
				b.WriteString(l + "\n")
			}
		}
		write("", e.comment)
		for _, s := range sections {
			write(s, *e.section(s))
		}
	}
	return b.String()
}

var headerLine = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*:( |$)`)

// split parts the lines of a request or a response after its first line: headers,
// then the body. An empty line may stand between them.
func split(lines []string) (headers [][2]string, body string) {
	i := 1
	for ; i < len(lines) && headerLine.MatchString(lines[i]); i++ {
		name, value, _ := strings.Cut(lines[i], ":")
		headers = append(headers, [2]string{name, strings.TrimSpace(value)})
	}
	if i < len(lines) && lines[i] == "" {
		i++
	}
	if i > len(lines) {
		i = len(lines)
	}
	return headers, strings.Join(lines[i:], "\n")
}
