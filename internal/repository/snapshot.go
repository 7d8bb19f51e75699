package repository

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// Snapshot is the root record of one backup set.
type Snapshot struct {
	ID       string // of its object, in hexadecimal
	Time     time.Time
	Hostname string
	Username string
	Paths    []string
	Tags     []string
	Tree     hash.ID // of its root directory
	Program  string  // that wrote it; empty: it does not say
	Original string  // id of the snapshot that it was made from; empty: from none
}

// origin is the id of the first of the snapshots that were made from each other.
func (s Snapshot) origin() string { return cmp.Or(s.Original, s.ID) }

// Tag returns the value of the tag key=value, and whether there is one.
func (s Snapshot) Tag(key string) (string, bool) {
	for _, t := range s.Tags {
		if v, ok := strings.CutPrefix(t, key+"="); ok {
			return v, true
		}
	}
	return "", false
}

// snapshotJSON is a snapshot object. The names are the format's.
type snapshotJSON struct {
	Time     time.Time `json:"time"`
	Tree     *hash.ID  `json:"tree"`
	Paths    []string  `json:"paths"`
	Hostname string    `json:"hostname,omitempty"`
	Username string    `json:"username,omitempty"`
	Tags     []string  `json:"tags,omitempty"`
	Program  string    `json:"program_version,omitempty"`
	Original *hash.ID  `json:"original,omitempty"`
}

func parseSnapshot(id hash.ID, data []byte) (Snapshot, error) {
	var j snapshotJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return Snapshot{}, holdfast.Wrap(holdfast.CodeInvalid, err, "snapshot %s is not the JSON of one", id.Short())
	}
	if j.Tree == nil || j.Tree.IsZero() {
		return Snapshot{}, holdfast.Errorf(holdfast.CodeInvalid, "snapshot %s names no tree", id.Short())
	}
	s := Snapshot{
		ID: id.String(), Time: j.Time, Hostname: j.Hostname, Username: j.Username,
		Paths: j.Paths, Tags: j.Tags, Tree: *j.Tree, Program: j.Program,
	}
	if j.Original != nil && !j.Original.IsZero() {
		s.Original = j.Original.String()
	}
	return s, nil
}

// Snapshots returns every snapshot, the oldest first. When some cannot be read
// it returns the others together with an error that names those.
func (r *Repository) Snapshots(ctx context.Context) ([]Snapshot, error) {
	ids, err := list(ctx, r.bucket, kindSnapshot())
	if err != nil {
		return nil, err
	}
	var all []Snapshot
	var errs []error
	for _, id := range ids {
		s, err := r.snapshot(ctx, id)
		switch {
		case err == nil:
			all = append(all, s)
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case holdfast.ErrorCode(err) == holdfast.CodeNotFound: // deleted meanwhile
		default:
			errs = append(errs, err)
		}
	}
	slices.SortFunc(all, func(a, b Snapshot) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.ID, b.ID)) })
	return all, errors.Join(errs...)
}

// ErrNoSnapshot is in the tree of the error that says that the repository was read,
// and has no such snapshot.
var ErrNoSnapshot = errors.New("no such snapshot")

// Snapshot returns one snapshot by its whole id; CodeNotFound, with
// [ErrNoSnapshot], when there is none.
func (r *Repository) Snapshot(ctx context.Context, id string) (Snapshot, error) {
	h, err := hash.Parse(id)
	if err != nil {
		return Snapshot{}, holdfast.Wrap(holdfast.CodeInvalid, err, "%q is not the id of a snapshot", id)
	}
	return r.snapshot(ctx, h)
}

func (r *Repository) snapshot(ctx context.Context, id hash.ID) (Snapshot, error) {
	data, err := r.load(ctx, kindSnapshot(), id)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return Snapshot{}, holdfast.Wrap(holdfast.CodeNotFound, errors.Join(ErrNoSnapshot, err), "the repository has no snapshot %s", id)
	}
	if err != nil {
		return Snapshot{}, err
	}
	return parseSnapshot(id, data)
}

// RemoveSnapshot deletes one snapshot by its whole id; it is no error when there
// is none. What only it used stays until a prune.
func (r *Repository) RemoveSnapshot(ctx context.Context, id string) error {
	h, err := hash.Parse(id)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%q is not the id of a snapshot", id)
	}
	return r.remove(ctx, kindSnapshot(), h)
}
