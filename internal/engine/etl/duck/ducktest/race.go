//go:build race

package ducktest

// Under the race detector the child is built with it, too.
const raceSuffix = "-race"

var raceFlags = []string{"-race"}
