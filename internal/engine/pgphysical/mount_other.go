//go:build unix && !linux

package pgphysical

// mounted reports whether another file system is mounted at the directory.
func mounted(dir string) bool { return otherDevice(dir) }
