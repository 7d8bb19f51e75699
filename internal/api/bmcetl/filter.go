package bmcetl

import (
	"context"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// The members of a filter.
const (
	filterMember   = "etl_instance_filter"
	filterCatalog  = "entity_catalog_id"
	filterOperator = "properties_filter_operator"
	filterValues   = "properties_filter"
	filterAll      = "all"
)

// filter selects ETLs by the properties of their active run configurations.
type filter struct {
	all        bool // asked for in words
	any        bool // one property is enough
	catalog    string
	properties map[string]string
}

func (f filter) empty() bool { return f.catalog == "" && len(f.properties) == 0 }

// readFilter reads a filter as JSON.
func readFilter(o object) (filter, error) {
	var f filter
	var err error
	if f.catalog, err = o.text(filterCatalog, false); err != nil {
		return f, err
	}
	operator, err := o.text(filterOperator, false)
	if err != nil {
		return f, err
	}
	if f.any, err = readOperator(operator); err != nil {
		return f, err
	}
	values, err := o.member(filterValues)
	if err != nil {
		return f, err
	}
	change, err := readChange(filterValues, values)
	if err != nil {
		return f, err
	}
	if len(change.remove) > 0 {
		return f, holdfast.Errorf(holdfast.CodeInvalid, "the property %q in %s has no value", clip(change.remove[0]), filterValues).WithHint("give it one, or leave it out")
	}
	f.properties = change.set
	f.all = string(o[filterAll]) == "true"
	return f, nil
}

func readOperator(text string) (orIsEnough bool, err error) {
	switch strings.ToUpper(text) {
	case "", "AND":
		return false, nil
	case "OR":
		return true, nil
	}
	return false, holdfast.Errorf(holdfast.CodeInvalid, "%s %q is unknown", filterOperator, clip(text)).WithHint("use AND or OR")
}

// filter reads the filter of the list: from the body, from one parameter that is
// JSON, or from flat parameters, but from one of them.
func (h *handler) filter(c *call, q url.Values) (filter, error) {
	body, err := h.object(c, maxSmall)
	if err != nil {
		return filter{}, err
	}
	if body[filterMember] != nil {
		if body, err = body.member(filterMember); err != nil {
			return filter{}, err
		}
	}
	var given []object
	if len(body) > 0 {
		given = append(given, body)
	}
	if text := q.Get(filterMember); text != "" {
		if err := wellFormed([]byte(text)); err != nil {
			return filter{}, holdfast.Wrap(holdfast.CodeInvalid, err, "the parameter %s is not JSON%s", filterMember, because(err)).WithHint("encode the JSON object for a URL")
		}
		o, err := asObject("the parameter "+filterMember, json.RawMessage(text))
		if err != nil {
			return filter{}, err
		}
		given = append(given, o)
	}
	for name, values := range q {
		if len(values) > 1 && (strings.HasPrefix(name, filterValues+".") || slices.Contains([]string{filterMember, filterCatalog, filterOperator}, name)) {
			return filter{}, holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s stands twice in the query", clip(name)).WithHint("send it once")
		}
	}
	if flat := flatFilter(q); len(flat) > 0 {
		given = append(given, flat)
	}
	switch len(given) {
	case 0:
		return filter{}, nil
	case 1:
		return readFilter(given[0])
	}
	return filter{}, holdfast.Errorf(holdfast.CodeInvalid, "the request has %d filters", len(given)).WithHint("send one: in the body or in the query")
}

// flatFilter makes an object of the flat parameters.
func flatFilter(q url.Values) object {
	o, values := object{}, object{}
	for name := range q {
		switch property, ok := strings.CutPrefix(name, filterValues+"."); {
		case ok:
			values[property] = quote(q.Get(name))
		case name == filterCatalog, name == filterOperator:
			o[name] = quote(q.Get(name))
		}
	}
	if len(values) > 0 {
		b, err := json.Marshal(values)
		if err != nil {
			panic(err) // its values are JSON
		}
		o[filterValues] = b
	}
	return o
}

// quote writes a string as JSON.
func quote(s string) json.RawMessage {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string is always JSON
	}
	return b
}

// mayAsk refuses to compare secrets for those who may see none: the answer would
// tell whether a guess is right.
func (f filter) mayAsk(role holdfast.Role) error {
	if role.Includes(holdfast.RoleAdmin) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(f.properties)) {
		if holdfast.SecretProperty(name) {
			return holdfast.Errorf(holdfast.CodeForbidden, "the property %q holds a secret, which the role %q may not see", clip(name), role).
				WithHint("use a key or token with the role %q, or leave the property out", holdfast.RoleAdmin)
		}
	}
	return nil
}

// selected lists the ETLs that the caller sees and the filter selects, by id,
// without their definitions. The list is shared: nobody changes it. ETLs here are
// of no entity catalogue, unless a property says so.
func (h *handler) selected(ctx context.Context, actor holdfast.Actor, f filter) ([]holdfast.Job, error) {
	jobs, _, err := h.Service.ETLs(ctx, actor, service.ETLFilter{Properties: f.properties, Any: f.any}, store.Page{})
	if err != nil || f.catalog == "" {
		return jobs, err
	}
	var list []holdfast.Job
	for _, j := range jobs {
		if active := j.ETL.Active(); active != nil && active.Properties[filterCatalog] == f.catalog {
			list = append(list, j)
		}
	}
	return list, nil
}

// readPage reads page, from 0, and size. ok is false when none is asked for.
func readPage(q url.Values) (page, size int, ok bool, err error) {
	if !q.Has("page") && !q.Has("size") {
		return 0, 0, false, nil
	}
	size = defaultSize
	for name, at := range map[string]*int{"page": &page, "size": &size} {
		if text := q.Get(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 31)
			if err != nil || name == "size" && n == 0 {
				return 0, 0, false, holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s is not a number of a page", name).
					WithHint("page counts from 0; size is at least 1")
			}
			*at = int(n)
		}
	}
	return page, min(size, defaultSize), true, nil
}

// defaultSize is the size of a page when a page is asked for, and the largest.
const defaultSize = 1000

// pageOf cuts a page out of a list.
func pageOf[T any](list []T, page, size int) []T {
	from := min(int64(page)*int64(size), int64(len(list)))
	to := min(from+int64(size), int64(len(list)))
	return list[from:to]
}
