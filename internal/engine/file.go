package engine

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"time"
)

// ErrVanished is what File.Open returns for a file that no longer exists: the
// sink leaves it out, and that is no error.
var ErrVanished = errors.New("the file has vanished")

// Content is an open file. ReadAt may be called from several goroutines.
type Content interface {
	io.ReaderAt
	io.Closer
}

// Node is a file, directory or symbolic link of a set, without its content.
type Node struct {
	Path    string // slash-separated, relative, clean: pgdata/base/1/1259. Any bytes but NUL
	Mode    fs.FileMode
	ModTime time.Time
	UID     uint32
	GID     uint32
	Size    int64
	Link    string // target of a symbolic link
	// Inode and ChangeTime are a regular file's at the source, as stat told them
	// before it was read; zero: not known.
	Inode      uint64
	ChangeTime time.Time
}

// File is a node with the means to read it.
type File struct {
	Node
	// Open is called once, by the sink; nil for what is no regular file. The
	// sink closes what it opens. Reading ends at Node.Size bytes, even when the
	// file has grown, or earlier when it has shrunk.
	Open func() (Content, error)
	// Inspect sees each block of the content once, before it is hashed, and may
	// correct it in place. Blocks of one file are contiguous, begin at multiples
	// of 8192 up to the last byte, and are shown in any order from several
	// goroutines. May be nil.
	Inspect func(offset int64, block []byte) error
	// Same reports whether the content is that of a regular file which has the same
	// path in the set that the sink builds on: then the sink need not open the file.
	// A sink that builds on none does not ask. May be nil.
	Same func(base Node) bool
	// Changed says of a block that Inspect has seen, all of what lies between two
	// multiples of 512 KiB, how many of its pages seem to have changed since an earlier
	// set, and how many it has. It is a hint, by which a sink may cut the block into
	// smaller pieces, and never decides about what is stored. May be nil.
	Changed func(block []byte) (changed, pages int)
	// Done is called once when the file is stored, or has vanished: Add's
	// responsibility ends there. May be nil. It must not block.
	Done func(FileResult)
}

// FileResult is what became of a file.
type FileResult struct {
	Vanished bool
	Size     int64 // bytes stored: Node.Size, or fewer when the file has shrunk
	Unread   bool  // it was not opened: its content is the base's
}

// Sink takes the files of one backup set.
type Sink interface {
	// Add stores the file. It returns once the file is taken, which is before it
	// is stored, and waits while the pipeline is full. Files come in any order;
	// parents need not be added, and get mode 0700 when they are not. A path
	// that is added again replaces the one before. After an error every further
	// call returns that error.
	Add(ctx context.Context, f File) error
	// Flush returns when everything added so far is stored.
	Flush(ctx context.Context) error
}

// Source gives the files of one backup set.
type Source interface {
	// Walk calls fn for every node, parents first, in the order of their paths.
	Walk(ctx context.Context, fn func(Node) error) error
	// ReadFile returns the content of a small file; CodeNotFound when there is
	// none, CodeInvalid when it is larger than limit bytes.
	ReadFile(ctx context.Context, path string, limit int64) ([]byte, error)
	// Fetch writes the content of the files, several at once, in the order in
	// which they lie in the repository, each block verified. It returns when all
	// targets are closed.
	Fetch(ctx context.Context, targets []Target) error
}

// Target is where Fetch writes one file.
type Target struct {
	Path string // as in Walk
	// Open is called once, before the first byte. What it returns is extended to
	// the file's size and may be written at any position, from several
	// goroutines; runs of zeros need not be written.
	Open func() (TargetFile, error)
	// Progress is called with the number of bytes that have been put in place.
	// May be nil.
	Progress func(bytes int64)
}

// TargetFile is a file that Fetch writes; *os.File is one.
type TargetFile interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	Sync() error
	Close() error
}
