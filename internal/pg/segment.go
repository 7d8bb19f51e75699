package pg

import (
	"fmt"
	"math/bits"
)

// Timeline numbers the histories of a cluster; a restore to an earlier point
// begins the next one. Zero is no timeline.
type Timeline uint32

// Limits of the size of a WAL segment, which initdb fixes.
const (
	MinSegmentSize = 1 << 20
	MaxSegmentSize = 1 << 30
)

// ValidSegmentSize reports whether n can be a cluster's WAL segment size: a
// power of two from 1 MiB to 1 GiB.
func ValidSegmentSize(n uint64) bool {
	return n >= MinSegmentSize && n <= MaxSegmentSize && bits.OnesCount64(n) == 1
}

// SegmentNumber returns the number of the WAL segment that holds the byte at lsn.
// segSize must be valid.
func SegmentNumber(lsn LSN, segSize uint64) uint64 { return uint64(lsn) / segSize }

// LastSegmentNumber returns the number of the segment that holds the byte before
// end: the last segment that a range of WAL ending there needs.
func LastSegmentNumber(end LSN, segSize uint64) uint64 {
	if end == 0 {
		return 0
	}
	return uint64(end-1) / segSize
}

// SegmentName returns the name of the WAL file that holds the byte at lsn.
// segSize is the cluster's segment size in bytes: a power of two from 1 MiB to
// 1 GiB, fixed by initdb, recorded in pg_control. At a segment's first byte
// pg_walfile_name answers with the segment before; SegmentName does not. Source
// of the format: XLogFileName in src/include/access/xlog_internal.h.
func SegmentName(tli Timeline, lsn LSN, segSize uint64) string {
	return SegmentFile(tli, SegmentNumber(lsn, segSize), segSize)
}

// SegmentFile returns the name of the WAL file with the number.
func SegmentFile(tli Timeline, number, segSize uint64) string {
	perHigh := uint64(1<<32) / segSize
	return fmt.Sprintf("%08X%08X%08X", uint32(tli), uint32(number/perHigh), uint32(number%perHigh))
}

// ParseSegmentName returns the timeline and the first byte of the WAL file with
// the name: 24 hexadecimal digits in upper case.
func ParseSegmentName(name string, segSize uint64) (Timeline, LSN, error) {
	if !ValidSegmentSize(segSize) {
		return 0, 0, fmt.Errorf("WAL segment size %d is not a power of two from 1 MiB to 1 GiB", segSize)
	}
	if len(name) != 24 || !upperHex(name) {
		return 0, 0, fmt.Errorf("%q is no name of a WAL segment", name)
	}
	tli, err := parseHex32(name[:8])
	if err != nil {
		return 0, 0, err
	}
	high, err := parseHex32(name[8:16])
	if err != nil {
		return 0, 0, err
	}
	low, err := parseHex32(name[16:])
	if err != nil {
		return 0, 0, err
	}
	if tli == 0 || uint64(low) >= uint64(1<<32)/segSize {
		return 0, 0, fmt.Errorf("%q is no name of a WAL segment of %d bytes", name, segSize)
	}
	return Timeline(tli), LSN(high)<<32 + LSN(uint64(low)*segSize), nil
}

// HistoryName returns the name of the timeline's history file.
func HistoryName(tli Timeline) string { return fmt.Sprintf("%08X.history", uint32(tli)) }

// ParseHistoryName returns the timeline whose history file has the name.
func ParseHistoryName(name string) (Timeline, bool) {
	if len(name) != len("00000001.history") || name[8:] != ".history" || !upperHex(name[:8]) {
		return 0, false
	}
	tli, err := parseHex32(name[:8])
	return Timeline(tli), err == nil && tli > 0
}

func upperHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}
