package pg

import "encoding/binary"

// WALPageHeaderSize is how much of a WAL page CheckWALPage reads.
const WALPageHeaderSize = 20

// CheckWALPage reports whether the bytes begin a WAL page of the address: a page
// of a recycled segment that was not yet written again shows an older address,
// and one that was never written is zero. Source: XLogPageHeaderData in
// src/include/access/xlog_internal.h.
func CheckWALPage(page []byte, addr LSN) bool {
	return len(page) >= WALPageHeaderSize && binary.LittleEndian.Uint16(page) != 0 &&
		LSN(binary.LittleEndian.Uint64(page[8:])) == addr
}
