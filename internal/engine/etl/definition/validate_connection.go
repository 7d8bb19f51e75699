package definition

import (
	"cmp"
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

func (v *validator) connections() {
	v.atMost("connections", len(v.d.Connections), maxConnections, "connections")
	for _, name := range sorted(v.d.Connections) {
		at, c := join("connections", name), v.d.Connections[name]
		if !v.name(at, name) {
			continue
		}
		if !v.exactlyOne(at, choice{"site", c.Site != ""}, choice{"directory", c.Directory != ""}, choice{"url", c.URL != ""}, choice{"bucket", c.Bucket != nil}) {
			continue
		}
		switch {
		case c.Site != "":
			v.site(at, c)
			continue
		case c.Directory != "":
			if err := checkDirectory(c.Directory); err != nil {
				v.fault(at+".directory", "%v", err)
			}
		case c.Bucket != nil:
			v.bucket(at+".bucket", *c.Bucket)
		default:
			if err := checkURL(c.URL); err != nil {
				v.fault(at+".url", "%v", err)
			}
		}
		if c.Database != "" {
			v.fault(at+".database", "is for a site only")
		}
	}
}

func (v *validator) site(at string, c Connection) {
	if err := holdfast.ValidName("site", c.Site); err != nil {
		v.fault(at+".site", "is %q: write the site's name, as in its URL", shorten(c.Site))
	}
	if c.Database == "" {
		return
	}
	if err := checkIdentifier(c.Database); err != nil {
		v.fault(at+".database", "%v", err)
	}
}

// bucket checks a place in an object store. The store is asked when it is used.
func (v *validator) bucket(at string, b Bucket) {
	l, err := holdfast.ParseLocation(b.Location)
	switch {
	case err != nil:
		v.fault(at+".location", "is no place in an object store: %s; %s", holdfast.ErrorMessage(err), holdfast.ErrorHint(err))
	case !l.InStore():
		v.fault(at+".location", "is a directory: write s3:https://HOST/BUCKET/PREFIX")
	}
	for _, key := range sorted(b.Parameters()) {
		v.secret(at+"."+key, b.Parameters()[key])
	}
	access := holdfast.ObjectAccess{
		AccessKey: "x", SecretKey: holdfast.NewSecret("x"), Region: b.Region, CA: b.CA, StorageClass: b.StorageClass, Encryption: b.Encryption,
	}
	if err := access.Validate(); err != nil {
		v.fault(at, "cannot be used: %s", holdfast.ErrorMessage(err))
	}
}

// secret checks a parameter whose value is a secret: it comes from a property that is
// sealed where it is kept, and not from the text of the definition.
func (v *validator) secret(at, name string) {
	p, ok := v.d.Parameters[name]
	switch {
	case !ok && v.unread("parameters"):
	case !ok:
		v.fault(at, "is %q, which is no parameter: the value stands in a property of the run configuration", shorten(name))
	case p.Type != typeText:
		v.fault(at, "is %q, a parameter of type %s: it has to be text", name, shorten(p.Type))
	case p.Default != nil || len(p.Enum) > 0:
		v.fault(at, "is %q, a parameter whose values stand in the definition: leave out default and enum", name)
	case !holdfast.SecretProperty(propertyOf(name, p)):
		v.fault(at, "is %q, a parameter whose property %s is no secret by its name: let it contain secret or token, or end in key", name, shorten(propertyOf(name, p)))
	}
}

func propertyOf(name string, p Parameter) string { return cmp.Or(p.Property, name) }

func checkDirectory(dir string) error {
	switch {
	case !strings.HasPrefix(dir, "/"):
		return errors.New("is not absolute: write the whole path, below one of the worker's ETL roots (--etl-root)")
	case dir != "/" && path.Clean(dir) != strings.TrimSuffix(dir, "/"):
		return errors.New("is not in its shortest form: leave out . and .. and doubled slashes")
	}
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return errors.New("is no URL for reading files: write http://host/path or https://host/path")
	case u.User != nil:
		return errors.New("holds a user or a password, which a definition is no place for")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return errors.New("goes on behind its path: leave out ? and # with what follows")
	}
	return nil
}

// choice is one of several keys of which exactly one is given.
type choice struct {
	key   string
	given bool
}

// exactlyOne checks that exactly one of the choices is given.
func (v *validator) exactlyOne(at string, choices ...choice) bool {
	var all, given []string
	for _, c := range choices {
		all = append(all, c.key)
		if c.given {
			given = append(given, c.key)
		}
	}
	slices.SortStableFunc(given, func(a, b string) int { // as they stand in the text
		p, q := v.find(at+"."+a), v.find(at+"."+b)
		return cmp.Or(cmp.Compare(p.line, q.line), cmp.Compare(p.column, q.column))
	})
	switch len(given) {
	case 1:
		return true
	case 0:
		v.fault(at, "has none of %s: give one", oneOf(all))
	default:
		v.fault(at+"."+given[1], "stands beside %s: give exactly one of %s", given[0], oneOf(all))
	}
	return false
}

// connection returns the connection of an extract or a load.
func (v *validator) connection(at, name string) (Connection, bool) {
	c, ok := v.d.Connections[name]
	if !ok && !v.unread("connections") {
		v.fault(at, "is %q, which is no connection: those are %s", shorten(name), oneOf(sorted(v.d.Connections)))
	}
	return c, ok && c.sound()
}

// sound reports whether a connection is to exactly one place. What is told of one
// that is not needs no more faults elsewhere.
func (c Connection) sound() bool {
	places := 0
	for _, given := range []bool{c.Site != "", c.Directory != "", c.URL != "", c.Bucket != nil} {
		if given {
			places++
		}
	}
	return places == 1
}
