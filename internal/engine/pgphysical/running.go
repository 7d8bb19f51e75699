package pgphysical

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// answerLimit is how long a server may take to accept a connection. One that is
// stuck accepts all the same: its kernel does.
const answerLimit = 2 * time.Second

// refuseRunning refuses to move a data directory in which a server may be running.
// None of its signs is enough alone: a server in a container has a process id of
// its own there, one that was killed leaves its file, and its last processes may
// outlive it. What is in doubt is refused.
func (r *restore) refuseRunning(ctx context.Context, dir string) error {
	if err := refusePID(dir); err != nil {
		return err
	}
	if err := refuseProcess(dir); err != nil {
		return err
	}
	return refuseAnswer(ctx, r.req.InPlace.Server)
}

// refusePID looks at postmaster.pid.
func refusePID(dir string) error {
	name := filepath.Join(dir, "postmaster.pid")
	text, err := readLimited(name, 1<<16)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	doubt := func(format string, args ...any) error {
		return holdfast.Errorf(holdfast.CodeConflict, "a PostgreSQL server may be running in directory %s: %s", dir, fmt.Sprintf(format, args...)).
			WithHint("stop the server; when none runs there, remove %s", name)
	}
	if err != nil {
		return doubt("its postmaster.pid cannot be read")
	}
	p, err := pg.ParsePostmasterPID(string(text))
	if err != nil {
		return doubt("its postmaster.pid is not valid")
	}
	switch err := unix.Kill(p.PID, 0); {
	case errors.Is(err, unix.ESRCH):
		return nil // it died
	case err != nil:
		return doubt("its postmaster.pid names process %d, which is there and belongs to another user", p.PID)
	}
	return holdfast.Errorf(holdfast.CodeConflict, "a PostgreSQL server runs in directory %s: its postmaster.pid names process %d, which is there", dir, p.PID).
		WithHint("stop the server; when process %d is something else, remove %s", p.PID, name)
}

// refuseProcess looks for a process that works in the directory: every process of
// a server does. One that works further down may be another server's, whose data
// directory would be moved away with this one. Where the system does not tell,
// there is none.
func refuseProcess(dir string) error {
	at, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return writeError(err, dir)
	}
	names, err := readNames("/proc")
	if err != nil {
		return nil //nolint:nilerr // another system
	}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if !worksBelow("/proc/"+name+"/cwd", at) {
			continue
		}
		what, _ := readLimited("/proc/"+name+"/comm", 64) // it is only shown
		return holdfast.Errorf(holdfast.CodeConflict, "process %d (%s) works in directory %s: a PostgreSQL server may be running there", pid, strings.TrimSpace(string(what)), dir).
			WithHint("stop the server; when the process is something else, let it leave the directory")
	}
	return nil
}

// maxAbove bounds how far up worksBelow looks.
const maxAbove = 100

// worksBelow reports whether a process's directory is the one at, or lies in it. It
// goes up from directory to directory: a path of another mount namespace means
// nothing here.
func worksBelow(cwd string, at fs.FileInfo) bool {
	var below fs.FileInfo
	for range maxAbove {
		dir, err := os.Stat(cwd)
		if err != nil || below != nil && os.SameFile(below, dir) { // at the root
			return false
		}
		if os.SameFile(at, dir) {
			return true
		}
		below, cwd = dir, cwd+"/.."
	}
	return false
}

// refuseAnswer tries the address at which the site's server is reached.
func refuseAnswer(ctx context.Context, s holdfast.Server) error {
	if s.Host == "" {
		return nil
	}
	network, address := "tcp", net.JoinHostPort(s.Host, strconv.Itoa(int(s.Port)))
	if strings.HasPrefix(s.Host, "/") {
		network, address = "unix", fmt.Sprintf("%s/.s.PGSQL.%d", s.Host, s.Port)
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil // nobody is there
	}
	_ = conn.Close() // nothing was said
	return holdfast.Errorf(holdfast.CodeConflict, "something answers at %s port %d, where the site's server is reached", s.Host, s.Port).
		WithHint("stop the server; when this address is not that of the server in the site's data directory, correct the site")
}
