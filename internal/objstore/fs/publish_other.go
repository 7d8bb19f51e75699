//go:build !linux

package fs

import "os"

// publish gives a temporary file its name; fs.ErrExist when that is taken.
func publish(dir *os.Root, temp, base string) error { return publishByLink(dir, temp, base) }
