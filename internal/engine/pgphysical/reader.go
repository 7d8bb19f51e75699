package pgphysical

import (
	"io/fs"
	"os"
	"os/user"
	"slices"
	"strconv"
	"syscall"

	"github.com/holdfast-backup/holdfast/internal/engine"
)

// reader is whom configuration is read for: the user that the server runs as. A
// worker that is root could read more, and whoever may write the server's
// configuration could have it save any file, and get it back in a restore.
type reader struct {
	uid  uint32
	gids []uint32
}

// readerOf returns the owner of the data directory.
func readerOf(n engine.Node) reader {
	r := reader{uid: n.UID, gids: []uint32{n.GID}}
	u, err := user.LookupId(strconv.FormatUint(uint64(n.UID), 10))
	if err != nil {
		return r // known on another machine only, as in a container
	}
	groups, _ := u.GroupIds() // without them fewer files can be read
	for _, g := range groups {
		if id, err := strconv.ParseUint(g, 10, 32); err == nil {
			r.gids = append(r.gids, uint32(id))
		}
	}
	return r
}

// may reports whether the user may read a file with these facts.
func (r reader) may(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	mode := fi.Mode().Perm()
	switch {
	case !ok || st.Uid == r.uid || r.uid == 0:
		return true
	case slices.Contains(r.gids, st.Gid):
		return mode&0o040 != 0
	}
	return mode&0o004 != 0
}

// read reads a regular file of at most limit bytes, if the user may.
func (r reader) read(name string, limit int64) ([]byte, error) {
	// Were it a pipe, opening would wait for ever.
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EINVAL}
	case !r.may(fi):
		return nil, &fs.PathError{Op: "read as the server's user", Path: name, Err: syscall.EACCES}
	}
	return readAll(f, limit)
}
