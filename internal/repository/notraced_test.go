//go:build !race

package repository

// raced says that the race detector is on.
const raced = false
