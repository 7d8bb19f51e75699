package pg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
)

// ControlFileSize is how much of global/pg_control is read; the file has had
// this size in every supported version.
const ControlFileSize = 8192

// ControlFile is the place of pg_control in the data directory.
const ControlFile = "global/pg_control"

// ErrControlTorn is returned for a pg_control whose checksum does not match: it
// was read while the server wrote it, or it is damaged.
var ErrControlTorn = errors.New("pg_control's checksum does not match")

// ErrControlVersion is returned for a pg_control of an unknown layout.
var ErrControlVersion = errors.New("pg_control's version is not known")

// ClusterState is what pg_control says of the cluster.
type ClusterState uint32

// The states, numbered as DBState in src/include/catalog/pg_control.h.
const (
	StateStartup ClusterState = iota
	StateShutDown
	StateShutDownInRecovery
	StateShuttingDown
	StateCrashRecovery
	StateArchiveRecovery
	StateInProduction
)

// Control is what pg_control says of a cluster.
type Control struct {
	SystemIdentifier uint64
	ControlVersion   uint32
	CatalogVersion   uint32
	State            ClusterState
	Checkpoint       LSN // where the latest checkpoint record is
	Redo             LSN // from where recovery replays
	Timeline         Timeline
	MinRecovery      LSN
	BackupStart      LSN
	WALLevel         uint32 // 0: minimal
	BlockSize        uint32 // of a page of a relation
	SegmentBlocks    uint32 // pages in a segment file of a relation
	WALBlockSize     uint32
	WALSegmentSize   uint32
	ChecksumVersion  uint32 // 0: page checksums are off; 1: on
}

// DataChecksums reports whether every page carries a checksum.
func (c Control) DataChecksums() bool { return c.ChecksumVersion == 1 }

// Offsets of fields of ControlFileData, the same in all supported versions but
// for the checksum. Source: src/include/catalog/pg_control.h.
const (
	controlOffVersion      = 8
	controlOffCatalog      = 12
	controlOffState        = 16
	controlOffCheckpoint   = 32
	controlOffRedo         = 40
	controlOffTimeline     = 48
	controlOffMinRecovery  = 136
	controlOffBackupStart  = 152
	controlOffWALLevel     = 172
	controlOffBlockSize    = 216
	controlOffSegment      = 220
	controlOffWALBlock     = 224
	controlOffWALSegment   = 228
	controlOffChecksum     = 252
	controlOffCRC13        = 288 // 13 to 17
	controlOffCRC18        = 292 // 18: default_char_signedness stands before the nonce
	controlVersionFirst    = 1300
	controlVersionLast1300 = 1799
	controlVersion18       = 1800
)

// ParseControl reads the content of global/pg_control and checks its checksum.
// It returns [ErrControlTorn] or [ErrControlVersion], wrapped.
func ParseControl(b []byte) (Control, error) {
	if len(b) < controlOffCRC18+4 {
		return Control{}, fmt.Errorf("%w: it has %d bytes", ErrControlTorn, len(b))
	}
	le := binary.LittleEndian
	c := Control{
		SystemIdentifier: le.Uint64(b),
		ControlVersion:   le.Uint32(b[controlOffVersion:]),
		CatalogVersion:   le.Uint32(b[controlOffCatalog:]),
		State:            ClusterState(le.Uint32(b[controlOffState:])),
		Checkpoint:       LSN(le.Uint64(b[controlOffCheckpoint:])),
		Redo:             LSN(le.Uint64(b[controlOffRedo:])),
		Timeline:         Timeline(le.Uint32(b[controlOffTimeline:])),
		MinRecovery:      LSN(le.Uint64(b[controlOffMinRecovery:])),
		BackupStart:      LSN(le.Uint64(b[controlOffBackupStart:])),
		WALLevel:         le.Uint32(b[controlOffWALLevel:]),
		BlockSize:        le.Uint32(b[controlOffBlockSize:]),
		SegmentBlocks:    le.Uint32(b[controlOffSegment:]),
		WALBlockSize:     le.Uint32(b[controlOffWALBlock:]),
		WALSegmentSize:   le.Uint32(b[controlOffWALSegment:]),
		ChecksumVersion:  le.Uint32(b[controlOffChecksum:]),
	}
	var off int
	switch v := c.ControlVersion; {
	case v >= controlVersionFirst && v <= controlVersionLast1300:
		off = controlOffCRC13
	case v == controlVersion18:
		off = controlOffCRC18
	default:
		// A torn file can show any version: only a good checksum at one of the
		// places would tell, and an unknown layout has none.
		return Control{}, fmt.Errorf("%w: %d", ErrControlVersion, v)
	}
	if crc32.Checksum(b[:off], castagnoli) != le.Uint32(b[off:]) {
		return Control{}, ErrControlTorn
	}
	return c, c.check()
}

// check reports sizes that no cluster has: what is computed from them must not
// divide by zero or run away.
func (c Control) check() error {
	switch {
	case bits.OnesCount32(c.BlockSize) != 1 || c.BlockSize < 1024 || c.BlockSize > MaxBlockSize:
		return fmt.Errorf("%w: block size %d", ErrControlVersion, c.BlockSize)
	case c.SegmentBlocks == 0:
		return fmt.Errorf("%w: %d blocks in a segment", ErrControlVersion, c.SegmentBlocks)
	case bits.OnesCount32(c.WALBlockSize) != 1 || c.WALBlockSize < 1024 || c.WALBlockSize > 65536:
		return fmt.Errorf("%w: WAL block size %d", ErrControlVersion, c.WALBlockSize)
	case !ValidSegmentSize(uint64(c.WALSegmentSize)):
		return fmt.Errorf("%w: WAL segment size %d", ErrControlVersion, c.WALSegmentSize)
	}
	return nil
}
