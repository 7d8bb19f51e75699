package commvault

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// query is the parameters of a request, by their names in lower case.
type query map[string]string

// readQuery reads the query of a URL. A parameter may stand twice when both
// values are the same: dropping one of two would widen or narrow a list behind
// its reader's back.
func readQuery(u *url.URL) (query, error) {
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the query of the URL is malformed").
			WithHint("separate parameters with & and encode special characters with %%")
	}
	q := query{}
	for name, list := range values {
		name = strings.ToLower(strings.TrimSpace(name))
		for _, v := range list {
			v = strings.TrimSpace(v)
			if old, twice := q[name]; twice && old != v {
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s has two values", strconv.Quote(name)).WithHint("give it once")
			}
			q[name] = v
		}
	}
	return q, nil
}

// get returns the value of the first of the parameters that is not empty.
func (q query) get(names ...string) string {
	for _, name := range names {
		if v := q[strings.ToLower(name)]; v != "" {
			return v
		}
	}
	return ""
}

// has reports whether the parameter is there, empty or not.
func (q query) has(name string) bool {
	_, ok := q[strings.ToLower(name)]
	return ok
}

// number reads a whole number. ok is false when none of the parameters is there.
func (q query) number(names ...string) (n int64, ok bool, err error) {
	v := q.get(names...)
	if v == "" {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(v, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false, holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s is not a number", names[0]).WithHint("give a whole number")
	}
	return n, true, nil // ParseInt returns the nearest number for one out of range
}
