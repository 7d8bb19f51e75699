package server

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// maxSocketPath is what the kernel's sun_path holds, without the byte at its end.
const maxSocketPath = 107

type socketKey struct{}

// FromSocket reports whether the request of this context came through the Unix
// socket, from the user that the server runs as or from root: an admin who needs
// no token.
func FromSocket(ctx context.Context) bool {
	owner, _ := ctx.Value(socketKey{}).(bool)
	return owner
}

// markSocket notes in a connection's context who is at its other end. The mode
// of the socket keeps others out; the kernel's word for the peer is asked all the
// same, so that a mode that somebody has changed opens nothing.
func markSocket(ctx context.Context, c net.Conn) context.Context {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	uid, err := peerUID(u)
	return context.WithValue(ctx, socketKey{}, err == nil && trusted(uid))
}

func trusted(uid int) bool { return uid == os.Geteuid() || uid == 0 }

// listenSocket opens a Unix socket with mode 0600. A socket file that a killed
// server has left is removed; one that somebody answers on is not.
func listenSocket(ctx context.Context, path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the path of the socket %s has %d bytes", path, len(path)).
			WithHint("use a state directory with a shorter path: the limit is %d", maxSocketPath)
	}
	dir := filepath.Dir(path)
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot listen on the socket %s: %v", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot close the socket %s to others: %v", path, err), l.Close())
	}
	return l, nil
}

// privateDir makes the directory, and refuses one in which others could put a
// socket of theirs.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot make the directory %s: %v", dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot look at the directory %s: %v", dir, err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "others may write to the directory %s of the socket", dir).WithHint("chmod 700 %s", dir)
	}
	return nil
}

func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot look at the socket %s: %v", path, err)
	case info.Mode().Type() != fs.ModeSocket:
		return holdfast.Errorf(holdfast.CodeConflict, "%s is in the way of the socket, and is none", path).WithHint("move it away")
	}
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		return errors.Join(holdfast.Errorf(holdfast.CodeConflict, "another server answers on %s", path).
			WithHint("end it first, or use another state directory"), c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot tell whether a server listens on %s: %v", path, err)
	}
	if err := os.Remove(path); err != nil {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot remove the stale socket %s: %v", path, err)
	}
	return nil
}
