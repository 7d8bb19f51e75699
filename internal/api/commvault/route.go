package commvault

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// Route is one call of the API.
type Route struct {
	Method string
	// Path is below a root. A segment in braces stands for any; one like
	// byName() for that name with arguments in its parentheses.
	Path string
	// Open is true for a call that needs no token.
	Open bool
}

type route struct {
	Route
	segments []string
	serve    endpoint
}

// Routes lists every call, in the order in which they are looked for.
func Routes() []Route {
	table := (&handler{}).table()
	list := make([]Route, len(table))
	for i, r := range table {
		list[i] = r.Route
	}
	return list
}

func (h *handler) table() []route {
	var table []route
	add := func(method, path string, serve endpoint) {
		table = append(table, route{Route: Route{Method: method, Path: path}, segments: split(path), serve: serve})
	}
	open := func(method, path string, serve endpoint) {
		add(method, path, serve)
		table[len(table)-1].Open = true
	}
	for _, part := range h.parts() {
		part(add, open)
	}
	return table
}

// adder adds a route.
type adder func(method, path string, serve endpoint)

// parts are the groups of routes, each beside the code that serves it: add makes
// a route, open one that needs no token.
func (h *handler) parts() []func(add, open adder) {
	return []func(add, open adder){
		h.sessionRoutes, h.clientRoutes, h.agentRoutes, h.instanceRoutes, h.backupsetRoutes, h.subclientRoutes,
		h.storageRoutes, h.jobRoutes, h.scheduleRoutes,
		h.taskRoutes,
	}
}

// split parts a path into its segments: repeated slashes and one at the end
// change nothing.
func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" })
}

// below returns the segments of the path below Prefix and a root, decoded.
func (h *handler) below(u *url.URL) ([]string, bool) {
	segments := split(u.EscapedPath())
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		segments[i] = decoded
	}
	for _, root := range Roots() {
		if want := split(h.Prefix + root); len(segments) >= len(want) && slices.EqualFunc(segments[:len(want)], want, strings.EqualFold) {
			return segments[len(want):], true
		}
	}
	return nil, false
}

// find returns the route of a request and the values of its path.
func (h *handler) find(r *http.Request) (route, map[string]string, error) {
	segments, ok := h.below(r.URL)
	if !ok {
		return route{}, nil, noPath()
	}
	method := r.Method
	if method == http.MethodHead { // net/http leaves the body out
		method = http.MethodGet
	}
	var allow []string
	for _, candidate := range h.routes {
		values, ok := candidate.match(segments)
		switch {
		case !ok:
		case candidate.Method == method:
			return candidate, values, nil
		default:
			allow = append(allow, candidate.Method)
			if candidate.Method == http.MethodGet {
				allow = append(allow, http.MethodHead)
			}
		}
	}
	if len(allow) == 0 {
		return route{}, nil, noPath()
	}
	return route{}, nil, wrongMethod(r.Method, allow)
}

func noPath() error {
	return holdfast.Errorf(holdfast.CodeNotFound, "there is nothing at this path").WithHint("see docs/api/commvault.md")
}

func wrongMethod(method string, allow []string) error {
	slices.Sort(allow)
	allow = slices.Compact(allow)
	return &Failure{
		Status: http.StatusMethodNotAllowed, Code: codeMethod, Allow: allow,
		Message: "the method " + strconv.Quote(method) + " is not allowed here: use " + strings.Join(allow, ", "),
	}
}

// match compares without regard to letter case, and returns the values of
// placeholders by their names and of arguments by their names in lower case.
func (r route) match(segments []string) (map[string]string, bool) {
	if len(segments) != len(r.segments) {
		return nil, false
	}
	values := map[string]string{}
	for i, want := range r.segments {
		switch got := segments[i]; {
		case strings.HasPrefix(want, "{"):
			values[strings.Trim(want, "{}")] = got
		case strings.HasSuffix(want, "()"):
			name, rest, ok := strings.Cut(got, "(")
			if !ok || !strings.EqualFold(name+"()", want) || !arguments(rest, values) {
				return nil, false
			}
		case !strings.EqualFold(want, got):
			return nil, false
		}
	}
	return values, true
}

// arguments reads clientName='a',appName='b') into values, a quote inside
// written twice.
func arguments(s string, values map[string]string) bool {
	for {
		name, rest, ok := strings.Cut(s, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		if rest = strings.TrimSpace(rest); !ok || name == "" || !strings.HasPrefix(rest, "'") {
			return false
		}
		value, rest, ok := quoted(rest[1:])
		if _, twice := values[name]; !ok || twice {
			return false
		}
		values[name] = value
		rest = strings.TrimSpace(rest)
		if rest == ")" {
			return true
		}
		if s, ok = strings.CutPrefix(rest, ","); !ok {
			return false
		}
	}
}

// quoted reads up to the closing quote, and returns what follows it.
func quoted(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for {
		head, tail, ok := strings.Cut(s, "'")
		if !ok {
			return "", "", false
		}
		b.WriteString(head)
		if s, ok = strings.CutPrefix(tail, "'"); !ok {
			return b.String(), tail, true
		}
		b.WriteByte('\'')
	}
}

// id reads the id of the path, which names what. What is no number is the id of
// nothing.
func (c call) id(what string) (int64, error) {
	n, err := strconv.ParseUint(c.path["id"], 10, 63)
	if err != nil {
		const most = 40
		text := c.path["id"]
		if len(text) > most {
			text = text[:most] + "…"
		}
		return 0, holdfast.Errorf(holdfast.CodeNotFound, "%s %q does not exist", what, text)
	}
	return int64(n), nil
}
