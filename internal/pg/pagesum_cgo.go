//go:build cgo && (amd64 || arm64)

package pg

// #cgo CFLAGS: -O3
// #cgo noescape pageSum
// #cgo nocallback pageSum
// #include "pagesum.h"
import "C"

import (
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// kernels are what this processor can sum pages with, the best last.
var kernels = func() []C.int {
	all := []C.int{0}
	if cpuid.CPU.Supports(cpuid.AVX2) {
		all = append(all, 1)
	}
	if cpuid.CPU.Supports(cpuid.AVX512F) {
		all = append(all, 2)
	}
	return all
}()

var kernel = kernels[len(kernels)-1]

// pageSum returns the sum of a page's lanes, its checksum counted as zero.
func pageSum(page []byte) uint32 { return pageSumBy(page, kernel) }

func pageSumBy(page []byte, kernel C.int) uint32 {
	return uint32(C.pageSum((*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(page))), C.size_t(len(page)), (*C.uint32_t)(unsafe.Pointer(&pageBasis[0])), kernel))
}
