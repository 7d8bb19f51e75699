//go:build race

package duck_test

// The race detector's own memory is not the engine's.
const raceless = false
