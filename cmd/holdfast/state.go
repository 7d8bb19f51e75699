package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
)

// Names in the state directory.
const (
	lockName     = "holdfast.lock"
	tempName     = "temp" // of ETLs: what they fetch and spill; may be removed when nothing runs
	databaseName = "holdfast.db"
	logsName     = "logs"
	identityName = "worker.identity"
	joinedName   = "worker.json"
	workersCert  = "workers.pem" // certificate and key of the listener for workers
	tlsDir       = "tls"         // certificate and key of the APIs, when they are self-signed
)

const maxHolder = 256 // bytes of the lock file that are shown

// state is a state directory that this process alone uses.
type state struct {
	dir  string
	lock *os.File
}

// openState makes the directory when it is missing, sees to it that its owner
// alone can look into it, and locks it. CodeConflict when another process has
// it.
func openState(dir string) (*state, error) {
	fix := "give a directory that this user may write to with --state or HOLDFAST_STATE"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the state directory cannot be made").WithHint("%s", fix)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the state directory cannot be read").WithHint("%s", fix)
	}
	if info.Mode().Perm() != 0o700 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return nil, holdfast.Wrap(holdfast.CodeForbidden, err, "the state directory is open to others, and cannot be closed").WithHint("%s", fix)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the state directory cannot be written to").WithHint("%s", fix)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		who, _ := io.ReadAll(io.LimitReader(f, maxHolder)) // for people only
		_ = f.Close()
		return nil, holdfast.Errorf(holdfast.CodeConflict, "another process uses the state directory %s: %s", dir, cell(strings.TrimSpace(string(who)))).
			WithHint("stop that one first, or give this one a directory of its own with --state")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the state directory: %w", err), f.Close())
	}
	s := &state{dir: dir, lock: f}
	if err := s.sign(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// sign writes who holds the lock, for whoever comes second.
func (s *state) sign() error {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	if err := s.lock.Truncate(0); err != nil {
		return holdfast.Wrap(holdfast.CodeExhausted, err, "the state directory cannot be written to")
	}
	if _, err := fmt.Fprintf(io.NewOffsetWriter(s.lock, 0), "pid %d on %s\n", os.Getpid(), host); err != nil {
		return holdfast.Wrap(holdfast.CodeExhausted, err, "the state directory cannot be written to")
	}
	return nil
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// Close lets the next process in. The lock's file stays: removing it would let
// two processes hold locks on two files of one name.
func (s *state) Close() error { return s.lock.Close() }
