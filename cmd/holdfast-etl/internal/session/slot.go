package session

import (
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// SQL may open the pipe that stands at a slot: slots are descriptors with fixed
// numbers, above those that this process gets for its other files.
const (
	firstSlot = 2048
	slotCount = 256
)

// checkLimit returns nil when there may be descriptors with the numbers of slots.
func checkLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("ask for the limit of open files: %w", err)
	}
	if limit.Cur < firstSlot+slotCount {
		return holdfast.Errorf(holdfast.CodeInvalid, "a process may have %d files open here, and the engine needs %d", limit.Cur, firstSlot+slotCount).
			WithHint("raise the worker's limit: ulimit -n, or LimitNOFILE in its unit")
	}
	return nil
}

// slots are numbers that are in use.
type slots [slotCount]bool

// slotPath is the name by which the engine opens a slot.
func slotPath(slot int) string { return fmt.Sprintf("/dev/fd/%d", firstSlot+slot) }

// take puts a file into a slot and closes it where it was. The caller holds the
// session's lock.
func (t *slots) take(f *os.File) (int, error) {
	for i, used := range t {
		if used {
			continue
		}
		raw, err := f.SyscallConn()
		if err != nil {
			return 0, fmt.Errorf("take a file: %w", err)
		}
		var taken error
		err = raw.Control(func(fd uintptr) { taken = syscall.Dup3(int(fd), firstSlot+i, syscall.O_CLOEXEC) })
		if err = errors.Join(err, taken, f.Close()); err != nil {
			return 0, fmt.Errorf("take a file: %w", err)
		}
		t[i] = true
		return i, nil
	}
	return 0, holdfast.Errorf(holdfast.CodeInvalid, "more than %d files and pipes are open at once", slotCount).
		WithHint("read fewer files in one execution, or keep their rows")
}

// free closes slots.
func (t *slots) free(all []int) {
	for _, i := range all {
		_ = syscall.Close(firstSlot + i) // what was written is checked by its reader
		t[i] = false
	}
}

// takeFiles moves files into slots.
func (s *Session) takeFiles(files []*os.File) ([]int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []int
	for i, f := range files {
		slot, err := s.slots.take(f)
		if err != nil {
			s.slots.free(all)
			return nil, err
		}
		files[i] = nil
		all = append(all, slot)
	}
	return all, nil
}

// freeSlots closes slots.
func (s *Session) freeSlots(all []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slots.free(all)
}

// OpenFiles returns the connection by which files come.
func OpenFiles(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "files")
	if f == nil {
		return nil, errors.New("there is no descriptor for files")
	}
	conn, err := net.FileConn(f) // a duplicate
	err = errors.Join(err, f.Close())
	if err != nil {
		return nil, err
	}
	files, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("the descriptor for files is no socket of ours"), conn.Close())
	}
	return files, nil
}

// receive returns the files that came for a request.
func (s *Session) receive(req *duck.Request) ([]*os.File, error) {
	if req.Files < 0 || req.Files > duck.MaxFiles {
		return nil, fmt.Errorf("a request comes with %d files", req.Files)
	}
	var all []*os.File
	for range req.Files {
		f, err := receiveFile(s.files)
		if err != nil {
			closeAll(all)
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

func receiveFile(conn *net.UnixConn) (*os.File, error) {
	one, control := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	n, controlLen, _, _, err := conn.ReadMsgUnix(one, control)
	if err != nil {
		return nil, fmt.Errorf("receive a file: %w", err)
	}
	if n != 1 {
		return nil, errors.New("receive a file: the socket has ended")
	}
	messages, err := syscall.ParseSocketControlMessage(control[:controlLen])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("receive a file: %d messages: %w", len(messages), errors.Join(err, errors.ErrUnsupported))
	}
	fds, err := syscall.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return nil, fmt.Errorf("receive a file: %d descriptors: %w", len(fds), errors.Join(err, errors.ErrUnsupported))
	}
	return os.NewFile(uintptr(fds[0]), "received"), nil
}

// closeAll closes the files that are still there.
func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}
