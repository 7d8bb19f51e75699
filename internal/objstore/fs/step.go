package fs

// Op is what a [Step] does.
type Op string

// The steps by which a bucket changes what is below its directory, and those that
// make a change survive a power cut.
const (
	Mkdir    Op = "mkdir"
	Write    Op = "write" // makes a file
	SyncFile Op = "sync-file"
	Name     Op = "name" // gives a file its last name
	Remove   Op = "remove"
	SyncDir  Op = "sync-dir" // of the names in a directory
)

// Step is one call to the file system.
type Step struct {
	Op   Op
	Path string // below the bucket's directory, "." is that one; what Create does above has absolute paths
	To   string // the last name, of Name; in the same directory
	Data []byte // the content, of Write
}

// Option is a way to open a bucket.
type Option func(*Bucket)

// Around has fn make every step: do is the step itself. Tests fail steps, stop at
// them, and remember what a power cut would take. fn is called from several
// goroutines.
func Around(fn func(s Step, do func() error) error) Option {
	return func(b *Bucket) { b.around = fn }
}

// do makes a step.
func (b *Bucket) do(s Step, call func() error) error {
	if b.around == nil {
		return call()
	}
	return b.around(s, call)
}
