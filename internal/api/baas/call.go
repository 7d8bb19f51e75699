package baas

import (
	"context"
	"net/http"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// Call is one request: who asks, what its path names, and what it says.
type Call struct {
	Actor   holdfast.Actor
	Path    map[string]string // by the placeholder's name
	Request *http.Request

	w       http.ResponseWriter
	svc     Service
	account string // as jobs carry it; empty: they do not
	query   *Query
	body    Tree
	job     *service.JobView
}

// Query returns the parameters of the request.
func (c *Call) Query() (Query, error) {
	if c.query != nil {
		return *c.query, nil
	}
	q, err := readQuery(c.Request.URL)
	if err == nil {
		c.query = &q
	}
	return q, err
}

// Body returns the JSON object of the request; an empty body is an empty object.
func (c *Call) Body() (Tree, error) {
	if c.body != nil {
		return c.body, nil
	}
	t, err := readTree(c.w, c.Request)
	if err == nil {
		c.body = t
	}
	return t, err
}

// Job returns the job that the path names, of whatever site. One that the caller
// may not see, or that is none of these dialects', is [Unknown].
func (c *Call) Job(ctx context.Context) (service.JobView, error) {
	if c.job != nil {
		return *c.job, nil
	}
	id, err := number("job", c.Path["job"])
	if err != nil {
		return service.JobView{}, err
	}
	j, err := c.svc.Job(ctx, c.Actor, holdfast.JobID(id))
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return service.JobView{}, Unknown("job", c.Path["job"])
	case err != nil:
		return service.JobView{}, err
	}
	switch j.Type {
	case holdfast.JobBackup, holdfast.JobRestore:
		c.job = &j
		return j, nil
	case holdfast.JobETL:
	}
	return service.JobView{}, Unknown("job", c.Path["job"])
}

// WriteJSON answers with v.
func (c *Call) WriteJSON(status int, v any) { writeJSON(c.w, status, v) }

// Unknown is the answer to an id of nothing, and to the id of what the caller
// may not see: the two are not told apart.
func Unknown(what, id string) error {
	return holdfast.Errorf(holdfast.CodeNotFound, "%s %q does not exist", what, short(id))
}

// short is what is shown of an id that came from outside.
func short(id string) string {
	const most = 100
	if len(id) > most {
		id = id[:most] + "…"
	}
	return id
}

// number reads an id of the path. What is no number is the id of nothing.
func number(what, s string) (int64, error) {
	id, err := strconv.ParseUint(s, 10, 63)
	if err != nil || id > holdfast.MaxID {
		return 0, Unknown(what, s)
	}
	return int64(id), nil
}
