package etl

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// A store has no rename that could commit a version and see who may. So what a flow
// has in a bucket is a chain of states, each an object that is put once, under the next
// number: who changes something takes the number behind the state that it has seen, and
// of two that do, one gets it. Claims, versions and counters are in one state: nobody
// commits a version whose fence was closed after it had looked.
//
// The state with the highest number holds, for readers, too.
const (
	statePrefix = "manifest-"
	stateSuffix = ".json"
	statesKept  = 20 // that stay, for those who have just seen their names
)

// bucketState is all that holds.
type bucketState struct {
	Format   int       `json:"format"`             // 1
	ID       string    `json:"id"`                 // of this state, by chance
	Previous string    `json:"previous,omitempty"` // id of the state before
	Created  time.Time `json:"created"`
	Version  int       `json:"version"`            // the newest; 0: there is none
	Prefix   string    `json:"prefix,omitempty"`   // below which its files are
	Manifest *manifest `json:"manifest,omitempty"` // of that version
	Claims   claims    `json:"claims"`

	number int // in its name; 0: there is none yet
}

func stateName(number int) string { return fmt.Sprintf("%s%09d%s", statePrefix, number, stateSuffix) }

// stateNumber is the number of the state with the name; 0: it is none.
func stateNumber(name string) int {
	rest, ok := strings.CutPrefix(name, statePrefix)
	digits, ok2 := strings.CutSuffix(rest, stateSuffix)
	n, err := strconv.Atoi(digits)
	if !ok || !ok2 || err != nil || n < 0 {
		return 0
	}
	return n
}

// state reads the state that holds.
func (o *bucketOutput) state(ctx context.Context) (s bucketState, err error) {
	for range 10 { // what holds may be replaced, and removed, between two looks
		var last int
		if last, err = o.lastState(ctx); err != nil {
			return s, err
		}
		if last == 0 {
			return o.noState(), nil
		}
		if s, err = o.readState(ctx, last); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
			break
		}
	}
	if err != nil {
		return s, err
	}
	return s, o.owned(s.Claims.Installation, s.Claims.Job, s.Claims.Flow)
}

func (o *bucketOutput) noState() bucketState {
	req := o.f.e.req
	return bucketState{Claims: claims{
		Installation: req.Installation, Job: req.Job, Flow: o.f.plan.Load.Name, Executions: map[holder]claimed{},
	}}
}

func (o *bucketOutput) lastState(ctx context.Context) (int, error) {
	names, err := listNames(ctx, o.store, o.key(statePrefix))
	if err != nil {
		return 0, o.f.bucketError(err, o.shown)
	}
	last := 0
	for _, name := range names {
		last = max(last, stateNumber(strings.TrimPrefix(name, o.key(""))))
	}
	return last, nil
}

func (o *bucketOutput) readState(ctx context.Context, number int) (bucketState, error) {
	name := stateName(number)
	text, err := readObject(ctx, o.store, o.key(name))
	if err != nil {
		return bucketState{}, fmt.Errorf("read %s/%s: %w", o.shown, name, err)
	}
	s := bucketState{number: number}
	if err := json.Unmarshal(text, &s); err != nil || s.ID == "" || s.Claims.Executions == nil || s.Version > 0 && (s.Manifest == nil || s.Prefix == "") {
		return s, holdfast.Wrap(holdfast.CodeInvalid, err, "%s/%s is no manifest of an ETL in a bucket", o.shown, name).
			WithHint("bring back the object that belongs there; without it the flow goes on from the state before")
	}
	return s, nil
}

// change adds a state to the chain. edit may be called again when somebody else is
// faster; without a change nothing is added.
func (o *bucketOutput) change(ctx context.Context, edit func(s *bucketState) (changed bool, err error)) error {
	for range 100 {
		s, err := o.state(ctx)
		if err != nil {
			return err
		}
		changed, err := edit(&s)
		if err != nil || !changed {
			return err
		}
		done, err := o.add(ctx, s)
		if err != nil || done {
			return err
		}
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "others keep changing what flow %s has in %s", o.f.plan.Load.Name, o.shown)
}

// add puts the state behind the one that it was made of; false: somebody else has
// put another there.
func (o *bucketOutput) add(ctx context.Context, s bucketState) (done bool, err error) {
	s.Format, s.Previous, s.ID, s.Created = 1, s.ID, rand.Text(), time.Now().UTC()
	s.number++
	text, err := json.MarshalIndent(s, "", "  ")
	switch {
	case err != nil:
		return false, fmt.Errorf("write the manifest: %w", err)
	case len(text) >= maxManifest:
		return false, holdfast.Errorf(holdfast.CodeInvalid, "the manifest of flow %s would have %d bytes", o.f.plan.Load.Name, len(text)).
			WithHint("its counters are too long: move files that were loaded to another prefix")
	}
	pctx, cancel := context.WithTimeoutCause(ctx, bucketCallLimit, errBucketSilent)
	defer cancel()
	err = o.store.Put(pctx, o.key(stateName(s.number)), append(text, '\n'))
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeConflict {
		// It may have been heard all the same: then it holds, and the next look finds it.
		return false, o.f.bucketError(err, o.shown)
	}
	done, err = o.holds(ctx, s)
	if err == nil && done {
		o.sweepStates(ctx, s.number)
	}
	return done, err
}

// holds reports whether a state of ours is part of the chain. Its number may have been
// used and removed long ago: then others follow it in number that were not made of it.
func (o *bucketOutput) holds(ctx context.Context, s bucketState) (bool, error) {
	there, err := o.readState(ctx, s.number)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return false, nil
	case err != nil:
		return false, err
	case there.ID != s.ID:
		return false, nil
	}
	last, err := o.lastState(ctx)
	if err != nil || last == s.number {
		return err == nil, err
	}
	next, err := o.readState(ctx, s.number+1)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return false, nil
	}
	return err == nil && next.Previous == s.ID, err
}

// sweepStates removes states that nobody looks at any more. What stays is swept with a
// later one: a store may not let us delete.
func (o *bucketOutput) sweepStates(ctx context.Context, last int) {
	names, err := listNames(ctx, o.store, o.key(statePrefix))
	if err != nil {
		return
	}
	for _, name := range names {
		if n := stateNumber(strings.TrimPrefix(name, o.key(""))); n == 0 || n > last-statesKept {
			continue
		}
		if deleteObject(ctx, o.store, name) != nil {
			return
		}
	}
}

// same reports whether the newest version, and its counters, are those of another state.
func (s bucketState) same(t bucketState) (bool, error) {
	if s.Version != t.Version || s.Prefix != t.Prefix {
		return false, nil
	}
	a, err := json.Marshal(s.Manifest)
	if err != nil {
		return false, err
	}
	b, err := json.Marshal(t.Manifest)
	return bytes.Equal(a, b), err
}
