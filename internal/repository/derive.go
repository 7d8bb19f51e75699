package repository

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// The tags of a snapshot that was made from another one.
const (
	// CopiedFromTag is the key of what says, in a copy, of which snapshot it is one:
	// the id of its repository, a slash, and its own.
	CopiedFromTag = "copied-from"
	// RepairedFromTag is the key of what says, in a snapshot that has lost something,
	// from which it was made.
	RepairedFromTag = "repaired-from"
)

// derived is a snapshot made from another one: everything in it, also what we do not
// know, stays as it was, but for what is set here.
type derived struct {
	from Snapshot
	tree hash.ID
	tags []string // key=value; they take the place of those with the same keys
}

// derive returns the JSON of the new snapshot. "original" is the format's word for
// where it comes from, which restic's copy, tag and rewrite set alike.
func (r *Repository) derive(ctx context.Context, d derived) ([]byte, error) {
	id, err := hash.Parse(d.from.ID)
	if err != nil {
		return nil, err
	}
	plain, err := r.load(ctx, kindSnapshot(), id)
	if err != nil {
		return nil, err
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal(plain, &fields); err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "snapshot %s is not the JSON of one", id.Short())
	}
	var tags []string
	for _, t := range d.from.Tags {
		if !replaced(t, d.tags) {
			tags = append(tags, t)
		}
	}
	for name, v := range map[string]any{"tree": d.tree, "tags": append(tags, d.tags...), "original": d.from.origin()} {
		if fields[name], err = json.Marshal(v); err != nil {
			return nil, fmt.Errorf("encode the snapshot: %w", err)
		}
	}
	delete(fields, "parent") // of the other tree, or of the other repository
	return json.Marshal(fields)
}

func replaced(tag string, by []string) bool {
	key, _, ok := strings.Cut(tag, "=")
	for _, t := range by {
		if ok && strings.HasPrefix(t, key+"=") {
			return true
		}
	}
	return false
}

// putSnapshot makes durable what was added, and then puts a snapshot that needs nothing
// but that, and what is in the index, with the same looks around as Commit. The writer
// may be used further.
func (w *Writer) putSnapshot(ctx context.Context, plain []byte) (string, error) {
	if err := w.flush(ctx); err != nil {
		return "", err
	}
	id, sealed, err := w.repo.encode(plain)
	if err != nil {
		return "", w.fail(err)
	}
	if err := w.lock.check(ctx); err != nil {
		return "", w.fail(err)
	}
	if err := w.refuseSentenced(ctx); err != nil {
		return "", w.fail(err)
	}
	if err := w.repo.put(ctx, kindSnapshot(), id, sealed); err != nil {
		return "", w.fail(err)
	}
	if err := w.unharmed(ctx); err != nil { // nobody knows of it yet, so nobody misses it
		err = fmt.Errorf("snapshot %s may not be whole, and was taken away again: %w", id, err)
		return "", w.fail(joinFirst(err, w.repo.remove(context.WithoutCancel(ctx), kindSnapshot(), id)))
	}
	return id.String(), nil
}
