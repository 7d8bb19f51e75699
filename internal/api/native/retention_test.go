package native_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// backup makes a set of the rig's job with a copy in the state.
func (r *rig) backup(state holdfast.CopyState, change func(*holdfast.BackupSet)) holdfast.SetID {
	r.t.Helper()
	var s holdfast.BackupSet
	noError(r.t, r.store.Update(r.t.Context(), func(tx store.Tx) error {
		s = holdfast.BackupSet{
			Account: holdfast.FirstID, Site: holdfast.FirstID, Job: holdfast.FirstID, Engine: holdfast.EnginePhysical, RunType: holdfast.RunFull,
			Started: start, Stopped: start.Add(time.Minute), Bytes: 100, Created: start,
		}
		if change != nil {
			change(&s)
		}
		if err := tx.InsertSet(r.t.Context(), &s); err != nil {
			return err
		}
		return tx.InsertCopy(r.t.Context(), &holdfast.Copy{
			Account: holdfast.FirstID, Set: s.ID, Repository: holdfast.FirstID, Snapshot: fmt.Sprintf("%064x", s.ID), State: state,
		})
	}))
	return s.ID
}

// TestRetentionExchanges looks at a plan, protects and deletes sets; the golden
// file is read in review.
func TestRetentionExchanges(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(200, "PATCH", "/api/v1/jobs/nightly", `{"retention":{"count":2}}`)
	for range 4 {
		r.backup(holdfast.CopyComplete, nil)
	}
	r.backup(holdfast.CopyDamaged, func(s *holdfast.BackupSet) { s.Damaged = "a page" })
	r.transcript.Reset()
	r.want(200, "GET", "/api/v1/jobs/berlin%2Fnightly/retention", "")
	r.want(200, "POST", "/api/v1/sets/1001/protect", "")
	r.want(200, "POST", "/api/v1/sets/1001/protect", `{"others":"refuse"}`)
	r.want(409, "POST", "/api/v1/sets/1002/protect", `{"others":"refuse"}`)
	r.want(200, "POST", "/api/v1/sets/1002/protect", `{"others":"replace"}`)
	r.want(200, "GET", "/api/v1/jobs/nightly/retention", "")
	r.want(409, "DELETE", "/api/v1/sets/1002", "")
	r.want(200, "POST", "/api/v1/sets/1002/unprotect", "")
	r.want(204, "DELETE", "/api/v1/sets/1002", "")
	r.want(200, "GET", "/api/v1/sets/1002", "")
	r.want(409, "POST", "/api/v1/sets/1002/protect", "")
	r.want(409, "DELETE", "/api/v1/sets/1002", "")
	r.want(204, "DELETE", "/api/v1/sets/1001", "")
	r.want(204, "DELETE", "/api/v1/sets/1003", "")
	r.want(409, "DELETE", "/api/v1/sets/1004", "")
	r.want(204, "DELETE", "/api/v1/sets/1004?confirm_last=true", "")
	r.want(200, "GET", "/api/v1/sets", "")
	r.want(422, "POST", "/api/v1/sets/1005/protect", `{"others":"maybe"}`)
	r.want(404, "DELETE", "/api/v1/sets/9999", "")
	r.want(404, "GET", "/api/v1/jobs/9999/retention", "")
	r.backup(holdfast.CopyComplete, nil)
	r.want(409, "DELETE", "/api/v1/jobs/nightly?sets=true", "")
	r.want(204, "DELETE", "/api/v1/jobs/nightly?sets=true&confirm_last=true", "")
	r.want(200, "GET", "/api/v1/sets", "")
	r.golden("retention")
}

// TestJobIsDeletedWithoutItsSets is the default.
func TestJobIsDeletedWithoutItsSets(t *testing.T) {
	r := newRig(t)
	r.setUp()
	id := r.backup(holdfast.CopyComplete, nil)
	r.want(204, "DELETE", "/api/v1/jobs/nightly", "")
	var set struct {
		Copies []struct{ State holdfast.CopyState }
	}
	r.want(200, "GET", fmt.Sprintf("/api/v1/sets/%d", id), "").decode(t, &set)
	if len(set.Copies) != 1 || set.Copies[0].State != holdfast.CopyComplete {
		t.Errorf("got %+v, want the set to stay", set)
	}
}
