//go:build cgo && (amd64 || arm64)

package pg

// #cgo CFLAGS: -O3
// #cgo noescape pageSum
// #cgo nocallback pageSum
// #include "pagesum.h"
import "C"

import "unsafe"

// kernel is the best that this processor has; it has those of lower numbers, too.
var kernel = int(C.pageKernels())

// pageSum returns the sum of a page's lanes, its checksum counted as zero.
func pageSum(page []byte) uint32 { return pageSumBy(page, kernel) }

func pageSumBy(page []byte, kernel int) uint32 {
	return uint32(C.pageSum((*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(page))), C.size_t(len(page)), (*C.uint32_t)(unsafe.Pointer(&pageBasis[0])), C.int(kernel)))
}
