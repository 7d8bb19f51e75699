//go:build unix && !linux

package pgphysical

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncAll makes everything durable that was written so far.
func syncAll(*os.File) error { return unix.Sync() }

// syncAllTells reports whether syncAll tells of what could not be written.
func syncAllTells() bool { return false }

func startWriting(*os.File) {}
