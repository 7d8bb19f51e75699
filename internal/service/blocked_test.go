package service_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// failingSiteTx fails when an execution of one site is inserted, and counts.
type failingSiteTx struct {
	store.Tx
	site  holdfast.SiteID
	tries *int
}

func (f failingSiteTx) InsertExecution(ctx context.Context, e *holdfast.Execution) error {
	if e.Site == f.site {
		*f.tries++
		return holdfast.Errorf(holdfast.CodeInternal, "the rows of this site cannot be read")
	}
	return f.Tx.InsertExecution(ctx, e)
}

// TestManySchedulesThatFailBlockNoOther has more schedules of one site fail than a
// look takes, all of them longer due than that of another site.
func TestManySchedulesThatFailBlockNoOther(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for i := range 3 {
		j := r.job(0, fmt.Sprintf("job %d", i))
		for range 90 {
			r.schedule(j, "0 3 * * *", "UTC", holdfast.RunFull)
		}
	}
	good := r.job(1, "good")
	r.schedule(good, "5 3 * * *", "UTC", holdfast.RunFull)
	tries := 0
	r.store.wrap = func(tx store.Tx) store.Tx { return failingSiteTx{tx, r.sites[0].ID, &tries} }
	r.clock.add(90 * time.Minute)
	_, err := r.svc.RunDue(t.Context())
	wantCode(t, err, holdfast.CodeInternal)
	if got := r.dues(good, "UTC"); !slices.Equal(got, []string{"03-01T03:05Z"}) {
		t.Errorf("got runs %q of the job of another site, want one", got)
	}
	if tries != 1 {
		t.Errorf("the site that fails was tried %d times in a look, want once", tries)
	}
}
