//go:build !amd64 || !cgo

package hash

// wide is false where there is no kernel for four messages.
const wide = false

func blocks(*[Lanes][8]uint32, *[Lanes][]byte) { panic("hash: no kernel for four messages") }
