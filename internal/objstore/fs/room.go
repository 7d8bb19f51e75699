package fs

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
)

// Large objects leave some of the file system free: a twentieth of it, and at most
// maxReserve bytes. Locks, marks and index objects fit in there, with which others finish
// what they have begun, and a prune makes room. Objects above largeObject bytes are large.
const (
	maxReserve  = 64 << 20
	largeObject = 1 << 20
)

// Room says whether a large object may be put now: see [objstore.Room].
func (b *Bucket) Room(context.Context) error { return b.room("begin", largeObject) }

// room refuses to write size bytes when they would leave less than the reserve.
func (b *Bucket) room(what string, size int64) error {
	if size < largeObject {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(b.dir, &st); err != nil || st.Blocks == 0 {
		return nil //nolint:nilerr // it cannot be asked: writing says what is wrong
	}
	block := int64(st.Bsize) //nolint:unconvert // the type differs by platform
	free, reserve := saturate(st.Bavail, block), min(saturate(st.Blocks, block)/20, maxReserve)
	if free-size >= reserve {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeExhausted, "%s: no room is left: the file system that holds %s has %d bytes free, and the last %d are kept for what makes room",
		what, b.dir, free, reserve).
		WithHint("make room on it, or raise its quota; to have less in a repository: holdfast repository prune")
}

// saturate multiplies without running over.
func saturate[N int64 | uint64](n N, block int64) int64 {
	const most = 1 << 62
	if block <= 0 || uint64(n) > uint64(most/block) { //nolint:gosec // block is above zero then
		return most
	}
	return int64(n) * block //nolint:gosec // bounded above
}
