package bmcetl

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
	Path   string // a segment in braces stands for any
	Open   bool   // needs no token
}

type route struct {
	Route
	segments []string
	role     holdfast.Role // the weakest that may
	kind     kind
	serve    endpoint
}

// kind says how the errors of a route look.
type kind int

const (
	plain    kind = iota // an object with request_status
	numbered             // the number of an execution before that
	older                // XML
)

// Routes lists every call, in the order in which they are looked for.
func Routes() []Route {
	table := (&handler{}).table()
	list := make([]Route, len(table))
	for i, r := range table {
		list[i] = r.Route
	}
	return list
}

// backend is the path of the ETL calls.
const backend = etlRoot + "/v1/backend"

func (h *handler) table() []route {
	const (
		reader   = holdfast.RoleReader
		operator = holdfast.RoleOperator
		admin    = holdfast.RoleAdmin
	)
	var table []route
	add := func(method, path string, role holdfast.Role, k kind, serve endpoint) {
		table = append(table, route{Route: Route{Method: method, Path: path}, segments: split(path), role: role, kind: k, serve: serve})
	}
	add(http.MethodGet, backend+"/etls", reader, plain, h.list)
	add(http.MethodPost, backend+"/etls/configuration/update", admin, plain, h.patchAll)
	add(http.MethodPost, backend+"/etls/{etl}/run", operator, numbered, h.run)
	add(http.MethodPost, backend+"/etls/{etl}/schedule", operator, numbered, h.schedule)
	add(http.MethodPost, backend+"/etls/{etl}/stop", operator, numbered, h.stop)
	add(http.MethodPost, backend+"/etls/{etl}/kill", operator, numbered, h.kill)
	add(http.MethodGet, backend+"/etls/{etl}/status", reader, numbered, h.status)
	add(http.MethodPost, backend+"/etls/{etl}/configuration", reader, numbered, h.export)
	add(http.MethodPut, backend+"/etls/{etl}/configuration", admin, numbered, h.replace)
	add(http.MethodPost, backend+"/etls/{etl}/configuration/update", admin, numbered, h.patch)
	add(http.MethodPost, backend+"/etls/{etl}/configuration/{configuration}", reader, numbered, h.export)
	add(http.MethodPost, backend+"/etls/{etl}/run_configurations/{configuration}/configuration", reader, numbered, h.export)
	add(http.MethodGet, backend+"/about", reader, plain, h.about)
	add(http.MethodGet, etlRoot+"/backend/openapi.yaml", reader, plain, h.openAPI)

	add(http.MethodPost, imsRoot+"/access_keys/login", "", plain, h.login)
	add(http.MethodPost, imsRoot+"/auth/tokens", "", plain, h.renew)
	for i := len(table) - 2; i < len(table); i++ {
		table[i].Open = true
	}
	add(http.MethodGet, imsRoot+"/access_keys", admin, plain, h.accessKeys)

	add(http.MethodPost, olderRoot+"/requestTaskExecution", operator, older, h.requestTask)
	add(http.MethodGet, olderRoot+"/checkTaskExecutionStatus/{execution}", reader, older, h.checkTask)
	add(http.MethodPost, olderRoot+"/submitReportExecution/{report}", operator, older, h.noReports)
	add(http.MethodGet, olderRoot+"/checkReportExecutionStatus/{execution}", reader, older, h.noReports)
	return table
}

func split(path string) []string { return strings.Split(strings.TrimPrefix(path, "/"), "/") }

// segments are the parts of the path, decoded. A slash at the end changes nothing.
func segments(u *url.URL) ([]string, bool) {
	list := split(strings.TrimSuffix(u.EscapedPath(), "/"))
	for i, s := range list {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		list[i] = decoded
	}
	return list, true
}

// find returns the route of a call, and gives the call the values of its path. For
// a wrong method it returns the path's route besides the error, which says how the
// error looks, and whether the path needs a token.
func (h *handler) find(c *call) (*route, error) {
	path, ok := segments(c.request.URL)
	if !ok {
		return nil, noPath()
	}
	method := c.request.Method
	if method == http.MethodHead { // net/http leaves the body out
		method = http.MethodGet
	}
	var allow []string
	var near *route
	for i := range h.routes {
		r := &h.routes[i]
		values, ok := r.match(path)
		switch {
		case !ok:
		case r.Method == method:
			c.path = values
			return r, nil
		default:
			allow = append(allow, r.Method)
			if r.Method == http.MethodGet {
				allow = append(allow, http.MethodHead)
			}
			near = r
		}
	}
	if near == nil {
		if len(path) > 0 && strings.HasPrefix(olderRoot, "/"+path[0]+"/") {
			return &route{kind: older}, noPath()
		}
		return nil, noPath()
	}
	return near, wrongMethod(c.request.Method, allow)
}

func noPath() error {
	return &failure{Status: http.StatusNotFound, Message: "there is nothing at this path", Hint: "see docs/api/bmc.md"}
}

func wrongMethod(method string, allow []string) error {
	slices.Sort(allow)
	allow = slices.Compact(allow)
	return &failure{
		Status: http.StatusMethodNotAllowed, Allow: allow,
		Message: "the method " + strconv.Quote(clip(method)) + " is not allowed here", Hint: "use " + strings.Join(allow, ", "),
	}
}

// match compares paths, case and all, and returns the values of the placeholders.
func (r *route) match(path []string) (map[string]string, bool) {
	if len(path) != len(r.segments) {
		return nil, false
	}
	values := map[string]string{}
	for i, want := range r.segments {
		switch {
		case strings.HasPrefix(want, "{"):
			values[strings.Trim(want, "{}")] = path[i]
		case want != path[i]:
			return nil, false
		}
	}
	return values, true
}

// id reads a number of the path: decimal, without a sign. What is no number is the
// id of nothing; no row has the number 0.
func (c *call) id(name string) int64 {
	text := c.path[name]
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil { // out of range
		return 0
	}
	return n
}

// etl reads the ETL's number of the path. CodeNotFound for what nobody can have.
func (c *call) etl() (holdfast.JobID, error) {
	id := holdfast.JobID(c.id("etl"))
	if id == 0 {
		return 0, errNoETL()
	}
	return id, nil
}

func errNoETL() error { return holdfast.Errorf(holdfast.CodeNotFound, textNoETL) }
