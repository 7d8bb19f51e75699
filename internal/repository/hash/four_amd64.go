//go:build cgo

package hash

// #cgo CFLAGS: -O3
// #cgo noescape sha256x4
// #cgo nocallback sha256x4
// #include "sha256x4.h"
import "C"

import (
	"crypto/sha256"
	"unsafe"

	"github.com/klauspost/cpuid/v2"
)

// wide reports whether blocks may be called.
var wide = cpuid.CPU.Supports(cpuid.SHA, cpuid.SSSE3, cpuid.SSE4)

// blocks takes whole blocks of four messages into their states.
func blocks(state *[Lanes][8]uint32, p *[Lanes][]byte) {
	at := func(l int) *C.uint8_t { return (*C.uint8_t)(unsafe.Pointer(unsafe.SliceData(p[l]))) }
	C.sha256x4((*[8]C.uint32_t)(unsafe.Pointer(state)), at(0), at(1), at(2), at(3), C.size_t(len(p[0])/sha256.BlockSize))
}
