//go:build !race

package duck_test

const raceless = true
