package objstore

import (
	"path"
	"strings"

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
