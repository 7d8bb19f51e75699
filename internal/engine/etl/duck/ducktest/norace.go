//go:build !race

package ducktest

const raceSuffix = ""

var raceFlags []string
