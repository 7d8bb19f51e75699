package sqlite

import (
	"context"
	"errors"
	"os"
	"time"
)

// How the write-ahead log is kept short. SQLite folds it into the database by
// itself, but begins it anew only at a moment when nobody reads from it: while
// views always overlap, that moment never comes, and the file grows.
const (
	walSuffix      = "-wal"
	checkpointMost = 500 * time.Millisecond // for which writers wait for readers to leave the log
	checkpointWait = time.Second
	checkpointLook = 32 // groups of transactions between two looks at the file
)

// checkpoint begins the write-ahead log anew when it has grown beyond its limit.
// Readers that come meanwhile read from the database, so that it waits for those
// alone that are there. When one of them takes long, it is tried again later.
type checkpoint struct {
	log   string // path of the write-ahead log
	limit int64  // bytes
	left  int    // groups until the next look
	next  time.Time
}

func newCheckpoint(path string, limit int64) *checkpoint {
	return &checkpoint{log: path + walSuffix, limit: limit}
}

// after is called when a group of transactions has ended, with the connection
// that writes; its error means that the connection is of no more use.
func (c *checkpoint) after(ctx context.Context, conn *conn, busy time.Duration) error {
	if c.left--; c.left > 0 {
		return nil
	}
	c.left = checkpointLook
	now := time.Now()
	if now.Before(c.next) || c.size() <= c.limit {
		return nil
	}
	if err := conn.busyTimeout(ctx, checkpointMost); err != nil {
		return err
	}
	var held, frames, folded int
	failed := conn.c.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&held, &frames, &folded)
	if held != 0 {
		c.next = now.Add(checkpointWait)
	}
	return errors.Join(failed, conn.busyTimeout(ctx, busy))
}

// size is the log's; 0 when there is none.
func (c *checkpoint) size() int64 {
	info, err := os.Stat(c.log)
	if err != nil {
		return 0
	}
	return info.Size()
}
