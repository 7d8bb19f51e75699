package etl

import (
	"log/slog"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	stores "github.com/holdfast-backup/holdfast/internal/objstore/place"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
)

// openStateAs opens a prefix in a bucket as an execution does.
func openStateAs(t *testing.T, c s3.Config, number holdfast.ExecutionID, fence holdfast.Fence) *bucketOutput {
	t.Helper()
	location := "s3:http://" + c.Endpoint + "/" + c.Bucket
	s, err := stores.OpenStore(location, holdfast.ObjectAccess{AccessKey: c.AccessKey, SecretKey: c.SecretKey, Region: c.Region}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	req := engine.ETL{Installation: "here", Job: 1001, Execution: number, Fence: fence}
	f := &flow{e: &execution{req: req, log: slog.New(slog.DiscardHandler), plan: &definition.Plan{Definition: &definition.Definition{}}}, plan: &definition.Flow{Load: definition.Load{Name: "a"}}}
	return &bucketOutput{output: &output{f: f, shown: location}, store: s, prefix: "out"}
}

// TestStatesThatWereForgotten has somebody who has seen a state wake up when the numbers
// behind it have been used and removed: what it adds is no part of the chain.
func TestStatesThatWereForgotten(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, c := range map[string]s3.Config{"plain": server.Config(t), "locked": server.LockedConfig(t)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			old := openStateAs(t, c, 1001, 1)
			if err := old.claim(ctx); err != nil {
				t.Fatal(err)
			}
			seen, err := old.state(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 * statesKept {
				if err := openStateAs(t, c, holdfast.ExecutionID(2000+i), 1).claim(ctx); err != nil {
					t.Fatal(err)
				}
			}
			before, err := old.state(ctx)
			if err != nil {
				t.Fatal(err)
			}
			seen.Version, seen.Prefix, seen.Manifest = 1, "v000000001-1001-1-x", &manifest{}
			if done, err := old.add(ctx, seen); done || err != nil {
				t.Errorf("a state behind one that is long gone: got %t, %v", done, err)
			}
			after, err := old.state(ctx)
			if err != nil || after.number != before.number || after.ID != before.ID || after.Version != 0 {
				t.Errorf("the chain ends with %+v, %v, want %+v", after, err, before)
			}
			names, err := listNames(ctx, old.store, "out/")
			if err != nil || len(names) > statesKept+1 {
				t.Errorf("%d states are left, %v", len(names), err)
			}
		})
	}
}

// TestStatesOfMany adds states from several sides at once: none is lost.
func TestStatesOfMany(t *testing.T) {
	t.Parallel()
	c := s3test.Start(t).Config(t)
	const sides, each = 4, 8
	var all sync.WaitGroup
	for i := range sides {
		all.Go(func() {
			o := openStateAs(t, c, holdfast.ExecutionID(1001+i), 1)
			for range each {
				err := o.change(t.Context(), func(s *bucketState) (bool, error) {
					s.Version, s.Prefix, s.Manifest = s.Version+1, "v", &manifest{}
					return true, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	s, err := openStateAs(t, c, 1001, 1).state(t.Context())
	if err != nil || s.Version != sides*each {
		t.Errorf("got %d, %v, want %d", s.Version, err, sides*each)
	}
}
