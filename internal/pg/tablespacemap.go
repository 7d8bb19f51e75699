package pg

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// TablespaceLink is one line of a tablespace_map: which directory a tablespace's
// link led to.
type TablespaceLink struct {
	OID  uint32
	Path string
}

// InPlace reports whether the tablespace is a plain directory below the data
// directory: its path is relative then.
func (l TablespaceLink) InPlace() bool { return !path.IsAbs(l.Path) }

// ParseTablespaceMap reads a tablespace_map: a line for each tablespace, its oid,
// a space, and the path, in which newline, carriage return and backslash have a
// backslash before them.
func ParseTablespaceMap(text string) ([]TablespaceLink, error) {
	var links []TablespaceLink
	var line strings.Builder
	escaped := false
	for i := range len(text) {
		switch c := text[i]; {
		case escaped:
			line.WriteByte(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '\n':
			if line.Len() > 0 {
				l, err := parseTablespaceLine(line.String())
				if err != nil {
					return nil, err
				}
				links = append(links, l)
			}
			line.Reset()
		case c == '\r': // a line's end on Windows
		case c == 0:
			return nil, fmt.Errorf("tablespace_map holds a NUL byte")
		default:
			line.WriteByte(c)
		}
	}
	if escaped || line.Len() > 0 {
		return nil, fmt.Errorf("tablespace_map ends within a line")
	}
	return links, nil
}

func parseTablespaceLine(line string) (TablespaceLink, error) {
	oid, dir, ok := strings.Cut(line, " ")
	n, isOID := parseOID(oid)
	if !ok || !isOID || dir == "" {
		return TablespaceLink{}, fmt.Errorf("tablespace_map: line %q has no oid and path", line)
	}
	return TablespaceLink{OID: n, Path: dir}, nil
}

// FormatTablespaceMap writes a tablespace_map.
func FormatTablespaceMap(links []TablespaceLink) string {
	var b strings.Builder
	for _, l := range links {
		b.WriteString(strconv.FormatUint(uint64(l.OID), 10))
		b.WriteByte(' ')
		for i := range len(l.Path) {
			if c := l.Path[i]; c == '\n' || c == '\r' || c == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(l.Path[i])
		}
		b.WriteByte('\n')
	}
	return b.String()
}
