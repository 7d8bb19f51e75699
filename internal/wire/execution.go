package wire

import (
	"encoding/json"
	"slices"

	"github.com/holdfast-backup/holdfast"
)

// Beat says that an order is being worked on.
type Beat struct {
	Fence    holdfast.Fence    `json:"fence"`
	Number   uint64            `json:"number"` // rises with each beat of a fence, from 1
	Progress holdfast.Progress `json:"progress"`
	// LockGoodSeconds is for how long the lock on the repository is still good;
	// zero: none is held.
	LockGoodSeconds float64 `json:"lock_good_seconds,omitempty"`
	// Rounds of a service that were good, under this fence.
	Rounds int64 `json:"rounds,omitempty"`
	// Version of the properties that an ETL has been given.
	Version int `json:"version,omitempty"`
}

// Validate checks the beat.
func (b *Beat) Validate() error {
	if b.Number == 0 || b.Number > holdfast.MaxID {
		return holdfast.Errorf(holdfast.CodeInvalid, "beat number %d is out of range", b.Number)
	}
	p := b.Progress
	for _, n := range []int64{p.DoneBytes, p.TotalBytes, p.DoneFiles, p.TotalFiles, p.AddedBytes, b.Rounds, int64(b.Version)} {
		if n < 0 {
			return holdfast.Errorf(holdfast.CodeInvalid, "progress of %d is negative", n)
		}
	}
	return first(fenced(b.Fence), short("phase", p.Phase, maxText))
}

// BeatReply answers a beat.
type BeatReply struct {
	Failure *Failure        `json:"failure,omitempty"`
	Wanted  holdfast.Wanted `json:"wanted"`
	Stale   bool            `json:"stale,omitempty"` // the fence is old: end, and touch nothing more
	// Version is above the beat's when a service is to have other properties from
	// its next round on; zero: it has the newest.
	Version int `json:"version,omitempty"`
	// Sealed holds them, as Secrets sealed to the worker's key.
	Sealed []byte `json:"sealed,omitempty"`
	// BytesPerSec is what a backup or restore may read and write of its repository in a
	// second, from now on; zero: no limit; nil: as before.
	BytesPerSec *int64 `json:"bytes_per_sec,omitempty"`
}

// Validate checks the answer.
func (r *BeatReply) Validate() error {
	if r.Version < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "version %d of the properties is negative", r.Version)
	}
	if r.BytesPerSec != nil && *r.BytesPerSec < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "a limit of %d bytes a second is negative", *r.BytesPerSec)
	}
	return first(r.Failure.validate(), short("secrets", string(r.Sealed), maxSealed))
}

// Intend asks whether the snapshot may be written. Packs and index are durable.
type Intend struct {
	Fence    holdfast.Fence `json:"fence"`
	Snapshot string         `json:"snapshot"` // id of the finished, encrypted snapshot object, in hexadecimal
}

// Validate checks the question.
func (i *Intend) Validate() error { return first(fenced(i.Fence), hexID("snapshot", i.Snapshot)) }

// Finish says that an order is done with.
type Finish struct {
	Fence holdfast.Fence `json:"fence"`
	// Move is what happened: succeed, warn, fail, rest, hand_back or retry.
	Move   holdfast.Move   `json:"move"`
	Detail string          `json:"detail,omitempty"` // for people
	Result json.RawMessage `json:"result,omitempty"` // what the engine reported
	// Progress is the last word on how far it came.
	Progress holdfast.Progress `json:"progress"`
	// StoredBytes is the size of the set that was written.
	StoredBytes int64 `json:"stored_bytes,omitempty"`
	// Bad is the id of the snapshot that a failed restore was to read, when the repository
	// was opened and read, and does not have it, or has something of it damaged.
	Bad string `json:"bad,omitempty"`
	// Good is the id of the snapshot that a restore has read whole.
	Good string `json:"good,omitempty"`
}

// Validate checks the report.
func (f *Finish) Validate() error {
	moves := []holdfast.Move{
		holdfast.MoveSucceed, holdfast.MoveWarn, holdfast.MoveFail, holdfast.MoveRest, holdfast.MoveHandBack, holdfast.MoveRetry,
	}
	if !slices.Contains(moves, f.Move) {
		return holdfast.Errorf(holdfast.CodeInvalid, "an order does not finish with the move %q", Clip(string(f.Move), maxText))
	}
	if f.StoredBytes < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "a size of %d bytes is negative", f.StoredBytes)
	}
	return first(fenced(f.Fence), short("detail", f.Detail, MaxDetail), short("result", string(f.Result), MaxResult), f.validateRead())
}

func (f *Finish) validateRead() error {
	done := f.Move == holdfast.MoveSucceed || f.Move == holdfast.MoveWarn
	switch {
	case f.Bad != "" && f.Move != holdfast.MoveFail, f.Good != "" && !done:
		return holdfast.Errorf(holdfast.CodeInvalid, "an order that says this of its snapshot does not finish with the move %q", f.Move)
	case f.Bad != "":
		return hexID("bad snapshot", f.Bad)
	case f.Good != "":
		return hexID("good snapshot", f.Good)
	}
	return nil
}

// Reply answers an intend or a finish, or a join that failed. No failure: yes.
//
// CodeConflict means that the fence is old, the execution is wanted to end, or
// another result was reported before: the worker ends, and touches nothing more.
// CodeUnavailable means that the same message may be answered later.
type Reply struct {
	Failure *Failure `json:"failure,omitempty"`
	// Wanted is what people want, when that is why the message was refused.
	Wanted holdfast.Wanted `json:"wanted"`
}

// Validate checks the answer.
func (r *Reply) Validate() error { return r.Failure.validate() }

// Chunk is a piece of an execution's log.
type Chunk struct {
	Fence  holdfast.Fence `json:"fence"`
	Offset int64          `json:"offset"` // of Data in what this fence logged
	Data   []byte         `json:"data"`
	// Lost is true when the bytes before Offset that were not acknowledged are
	// gone: the log goes on behind a note.
	Lost bool `json:"lost,omitempty"`
}

// Validate checks the piece.
func (c *Chunk) Validate() error {
	if c.Offset < 0 || c.Offset > holdfast.MaxID-MaxChunk {
		return holdfast.Errorf(holdfast.CodeInvalid, "offset %d is out of range", c.Offset)
	}
	return first(fenced(c.Fence), short("piece of the log", string(c.Data), MaxChunk))
}

// ChunkReply acknowledges a log up to an offset.
type ChunkReply struct {
	Failure *Failure `json:"failure,omitempty"`
	Next    int64    `json:"next"` // the offset from which the log goes on
}

// Validate checks the answer.
func (r *ChunkReply) Validate() error {
	if r.Next < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "offset %d is negative", r.Next)
	}
	return r.Failure.validate()
}
