package holdfast

import (
	"net"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Location is where a repository stands: in a directory, or under a prefix in a
// bucket of an object store.
type Location struct {
	Dir string // clean absolute path; empty: in an object store

	Host   string // of the object store: a name or an address, and a port when it is not the usual one
	Plain  bool   // HTTP without TLS: on this machine only
	Bucket string
	Prefix string // without slashes at its ends; empty: the whole bucket
}

// The kinds of locations, as their spelling begins.
const (
	schemeDir     = "file"
	schemeObjects = "s3:" // as restic spells it: the URL of the store follows
)

// maxPrefix leaves room for the names below it: a key has 1024 bytes.
const maxPrefix = 400

// amazon is the end of the names of Amazon's stores: a bucket has one owner in all of
// them.
const amazon = ".amazonaws.com"

const locationHint = "use file:///absolute/path, or s3:https://HOST/BUCKET/PREFIX"

// bucketPattern takes what any store takes; Amazon's rules are narrower.
var bucketPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$`)

// ParseLocation reads file:///absolute/path, or s3:https://host:port/bucket/prefix as
// restic has it. HTTP without TLS is for stores on this machine.
func ParseLocation(s string) (Location, error) {
	if rest, ok := strings.CutPrefix(s, schemeObjects); ok {
		return parseObjects(s, rest)
	}
	bad := Errorf(CodeInvalid, "location %q is not the URL of a directory or of a bucket", s)
	if strings.HasPrefix(s, "/") {
		return Location{}, bad.WithHint("write file://%s", s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != schemeDir || u.Host != "" || !onlyPath(u) {
		return Location{}, bad.WithHint(locationHint)
	}
	if err := CleanAbs("repository directory", u.Path); err != nil {
		return Location{}, err
	}
	return Location{Dir: u.Path}, nil
}

// onlyPath reports whether there is nothing in the URL that a location has no place for.
func onlyPath(u *url.URL) bool {
	return u.User == nil && u.Opaque == "" && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

func parseObjects(s, rest string) (Location, error) {
	u, err := url.Parse(rest)
	if err != nil || u.User != nil { // what stands there may be a secret
		return Location{}, Errorf(CodeInvalid, "the location after %s is not the URL of a bucket", schemeObjects).
			WithHint("use s3:https://HOST/BUCKET/PREFIX, and give the access key apart from it")
	}
	bad := Errorf(CodeInvalid, "location %q is not the URL of a bucket", s).WithHint("use s3:https://HOST/BUCKET/PREFIX")
	if u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || !onlyPath(u) {
		return Location{}, bad
	}
	l := Location{Host: strings.ToLower(u.Host), Plain: u.Scheme == "http"}
	usual := ":443"
	if l.Plain {
		usual = ":80"
	}
	l.Host = strings.TrimSuffix(strings.TrimSuffix(l.Host, usual), ":")
	if strings.ContainsAny(l.Host, "/ @?#%\\") || strings.HasSuffix(u.Hostname(), ".") {
		return Location{}, bad
	}
	l.Bucket, l.Prefix, _ = strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	l.Prefix = strings.TrimSuffix(l.Prefix, "/")
	switch {
	case !bucketPattern.MatchString(l.Bucket):
		return Location{}, Errorf(CodeInvalid, "location %q names no bucket", s).WithHint("use s3:https://HOST/BUCKET/PREFIX")
	case !cleanPrefix(l.Prefix):
		return Location{}, Errorf(CodeInvalid, "%q is not a path in a bucket", l.Prefix).
			WithHint("write it as a/b, without . or .. or empty parts, in at most %d bytes", maxPrefix)
	case l.Plain && !loopback(u.Hostname()):
		return Location{}, Errorf(CodeInvalid, "%s would be reached without TLS", l.Host).
			WithHint("use https; http is for stores on this machine")
	}
	return l, nil
}

func cleanPrefix(p string) bool {
	if p == "" {
		return true
	}
	if len(p) > maxPrefix || strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == utf8.RuneError }) {
		return false
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// String is the location's one spelling, which [ParseLocation] reads.
func (l Location) String() string {
	if l.Dir != "" {
		return (&url.URL{Scheme: schemeDir, Path: l.Dir}).String()
	}
	return schemeObjects + l.Store() + (&url.URL{Path: l.root()}).EscapedPath()
}

// Store is the URL of the object store.
func (l Location) Store() string {
	if l.Plain {
		return "http://" + l.Host
	}
	return "https://" + l.Host
}

// root is the location's place in its store, as a path.
func (l Location) root() string {
	if l.Prefix == "" {
		return "/" + l.Bucket
	}
	return "/" + l.Bucket + "/" + l.Prefix
}

// InStore reports whether the location is in an object store.
func (l Location) InStore() bool { return l.Dir == "" }

// Overlaps reports whether one of the two is the other, or lies in it, as far as
// their spelling tells.
func (l Location) Overlaps(o Location) bool {
	a, b := l.Dir, o.Dir
	switch {
	case l.InStore() != o.InStore():
		return false
	case l.InStore() && l.owner() != o.owner():
		return false
	case l.InStore():
		a, b = l.root(), o.root()
	}
	return strings.HasPrefix(a+"/", b+"/") || strings.HasPrefix(b+"/", a+"/")
}

// owner is the namespace that the bucket's name is unique in.
func (l Location) owner() string {
	if host, _, _ := strings.Cut(l.Host, ":"); strings.HasSuffix(host, amazon) {
		return amazon
	}
	return l.Host
}
