package holdfast

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// SiteID numbers sites.
type SiteID int64

// Site is one PostgreSQL server (cluster) that we protect, or that ETLs use.
type Site struct {
	ID         SiteID
	Account    AccountID
	Host       HostID
	Slug       string // immutable text id, unique in the account: dialects that name sites in URLs use it
	Name       string
	Server     Server
	Password   []byte // sealed with the master key; empty: none needed
	DataDir    string // absolute path on Host; empty: for ETLs only, there is nothing to back up
	Pool       string // which workers may run its executions
	Repository RepositoryID
	MaxRunning int // executions at once; 0: no limit
	// Reading and Compression are for its backups; empty: as the defaults.
	Reading     Reading
	Compression Compression
	// BytesPerSec is how many bytes one backup or restore may read from its repository
	// and write to it at most in a second; 0: no limit. A change is for those that run,
	// too.
	BytesPerSec int64
	Created     time.Time
}

// MinBytesPerSec is the lowest limit of a site: a pack has 16 MiB, and several pass at
// once, each in the time that a call may take.
const MinBytesPerSec = 1 << 20

// Reading says whether backups may leave out to read what has not changed.
type Reading string

// The ways of reading.
const (
	ReadTrust Reading = "trust"    // a DELTA does not read the files whose size, inode and times are those of the set before; the default
	ReadAll   Reading = "read-all" // every backup reads every file
)

// Readings lists every way of reading.
func Readings() []Reading { return []Reading{ReadTrust, ReadAll} }

// Compression is how hard backups try to make less of what they store. It is the
// site's and not the repository's: what it costs is time of the site's processors,
// and a repository may hold what was written with any.
type Compression string

// The compressions.
const (
	CompressFastest Compression = "fastest"
	CompressDefault Compression = "default" // harder while there is time for it
	CompressMax     Compression = "max"
	CompressOff     Compression = "off"
)

// Compressions lists every compression.
func Compressions() []Compression {
	return []Compression{CompressFastest, CompressDefault, CompressMax, CompressOff}
}

// DefaultPool is the pool of sites and workers that name none.
const DefaultPool = "default"

// Server says how to reach a PostgreSQL server.
type Server struct {
	Host     string // name, address, or the directory of a Unix socket
	Port     uint16
	User     string
	Database string
	SSLMode  string // as in libpq: disable, allow, prefer, require, verify-ca, verify-full; empty: prefer
}

var slugPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// ValidName checks the name of a host, site, repository, pool or worker that
// stands in URLs, subjects and file names.
func ValidName(what, name string) error {
	if !slugPattern.MatchString(name) {
		return Errorf(CodeInvalid, "%s %q is not a valid name", what, name).
			WithHint("use 1 to 63 letters, digits, dots, dashes or underscores, and begin with a letter or a digit")
	}
	return nil
}

// Validate checks everything that can be checked without the server.
func (s Site) Validate() error {
	if err := ValidName("site", s.Slug); err != nil {
		return err
	}
	if err := ValidName("pool", s.Pool); err != nil {
		return err
	}
	if strings.Contains(s.Pool, ".") {
		return Errorf(CodeInvalid, "pool %q holds a dot", s.Pool).WithHint("name the pool without dots")
	}
	if s.DataDir != "" {
		if err := CleanAbs("data directory", s.DataDir); err != nil {
			return err
		}
	}
	switch {
	case s.Server.Host == "":
		return Errorf(CodeInvalid, "the server's host is missing").WithHint("give a host name, an address, or the directory of its Unix socket")
	case s.Server.Port == 0:
		return Errorf(CodeInvalid, "the server's port is missing")
	case s.Server.User == "":
		return Errorf(CodeInvalid, "the server's user is missing")
	case s.MaxRunning < 0:
		return Errorf(CodeInvalid, "the limit of running executions is negative")
	}
	if s.Reading != "" && !slices.Contains(Readings(), s.Reading) {
		return Errorf(CodeInvalid, "the way of reading %q is unknown", s.Reading).WithHint("use trust or read-all")
	}
	if s.Compression != "" && !slices.Contains(Compressions(), s.Compression) {
		return Errorf(CodeInvalid, "the compression %q is unknown", s.Compression).WithHint("use fastest, default, max or off")
	}
	if s.BytesPerSec < 0 || s.BytesPerSec > 0 && s.BytesPerSec < MinBytesPerSec {
		return Errorf(CodeInvalid, "a limit of %d bytes a second is too low", s.BytesPerSec).WithHint("use at least 1 MiB a second, or 0 for no limit")
	}
	switch s.Server.SSLMode {
	case "", "disable", "allow", "prefer", "require", "verify-ca", "verify-full":
	default:
		return Errorf(CodeInvalid, "sslmode %q is unknown", s.Server.SSLMode).
			WithHint("use disable, allow, prefer, require, verify-ca or verify-full")
	}
	return nil
}

// CleanAbs checks that a path from outside is absolute, clean, and no root.
func CleanAbs(what, p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsRune(p, 0) {
		return Errorf(CodeInvalid, "%s %q is not a clean absolute path", what, p).
			WithHint("give an absolute path without . or .. and without a slash at its end")
	}
	return nil
}
