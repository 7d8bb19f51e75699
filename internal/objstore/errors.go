package objstore

import (
	"errors"
	"path"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func tooLarge(name string, limit int64) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "object %s is larger than %d bytes", name, limit)
}

// NotFound is the error for an object that does not exist.
func NotFound(name string) error {
	return holdfast.Errorf(holdfast.CodeNotFound, "there is no object %s", name)
}

// Exists is the error for a name that is taken.
func Exists(name string) error {
	return holdfast.Errorf(holdfast.CodeConflict, "object %s exists already", name)
}

// BadRange is the error for a range that ends beyond the object.
func BadRange(name string, offset, length int64) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "object %s has no %d bytes at offset %d", name, length, offset)
}

// CheckName refuses a name that is empty, too long, or no clean relative path.
func CheckName(name string) error {
	if name == "" || len(name) > MaxName || path.IsAbs(name) || path.Clean(name) != name ||
		name == "." || name == ".." || strings.HasPrefix(name, "../") || strings.ContainsAny(name, "\x00\\") {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not the name of an object", name)
	}
	return nil
}

// retainedError is in the tree of the error for an object that is under retention.
type retainedError struct{ until time.Time }

func (e *retainedError) Error() string {
	if e.until.IsZero() {
		return "it is under retention"
	}
	return "it is under retention until " + e.until.UTC().Format(time.RFC3339)
}

// Retained is the error for an object that the store may not delete yet: CodeForbidden.
// until is zero when the store does not say for how long, or has no end set.
func Retained(name string, until time.Time) error {
	e := &retainedError{until}
	return holdfast.Wrap(holdfast.CodeForbidden, e, "object %s cannot be deleted yet", name).
		WithHint("the bucket's object lock keeps it; delete it again when its retention is over")
}

// RetainedUntil reports whether err says that an object may not be deleted yet, and
// until when that holds; zero: nobody knows.
func RetainedUntil(err error) (until time.Time, ok bool) {
	e, ok := errors.AsType[*retainedError](err)
	if !ok {
		return time.Time{}, false
	}
	return e.until, true
}
