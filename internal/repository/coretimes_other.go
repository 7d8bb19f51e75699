//go:build !linux

package repository

// readCoreTimes claims that the machine never idles: without a measure the level of
// compression stays where it begins.
func readCoreTimes() coreTimes { return coreTimes{known: true} }
