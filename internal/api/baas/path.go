package baas

import (
	"net/url"
	"strings"
)

// Segments returns the parts of the path below root, decoded and without blanks
// around them. A slash at the end changes nothing. ok is false when
// the path is not below root.
func Segments(u *url.URL, root string) (segments []string, ok bool) {
	rest := strings.Split(u.EscapedPath(), "/")
	for i, s := range rest {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, false
		}
		rest[i] = strings.TrimSpace(decoded)
	}
	if n := len(rest); n > 1 && strings.HasSuffix(u.EscapedPath(), "/") {
		rest = rest[:n-1]
	}
	for want := range strings.SplitSeq(root, "/") {
		if len(rest) == 0 || rest[0] != want {
			return nil, false
		}
		rest = rest[1:]
	}
	return rest, true
}
