//go:build !cgo || !(amd64 || arm64)

package pg

// pageSum returns the sum of a page's lanes, its checksum counted as zero.
func pageSum(page []byte) uint32 { return pageSumPure(page) }
