package expire_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

var now = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// stored is a job with a history in a real store.
type stored struct {
	*sqlite.Store
	job holdfast.Job
}

// keep makes a job that keeps two generations, with the history of given. Sets
// get ids of their own; the n-th of the history has the n-th lowest.
func keep(t *testing.T, history string) stored {
	t.Helper()
	ctx := t.Context()
	st, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "holdfast.db"))
	require(t, err)
	t.Cleanup(func() { require(t, st.Close()) })
	s := stored{Store: st}
	sets, restores := given(t, history)
	require(t, st.Update(ctx, func(tx store.Tx) error {
		h := holdfast.Host{Account: holdfast.FirstID, Name: "db1"}
		require(t, tx.InsertHost(ctx, &h))
		r := holdfast.Repository{Account: holdfast.FirstID, Name: "main"}
		require(t, tx.InsertRepository(ctx, &r))
		site := holdfast.Site{Account: holdfast.FirstID, Host: h.ID, Slug: "berlin"}
		require(t, tx.InsertSite(ctx, &site))
		s.job = holdfast.Job{
			Account: holdfast.FirstID, Site: site.ID, Type: holdfast.JobBackup, Name: "nightly", Retention: holdfast.Retention{Count: 2},
		}
		require(t, tx.InsertJob(ctx, &s.job))
		require(t, tx.InsertSchedule(ctx, &holdfast.Schedule{Account: holdfast.FirstID, Job: s.job.ID, RunType: holdfast.RunFull, Active: true}))
		other := s.job
		other.ID, other.Name = 0, "other"
		require(t, tx.InsertJob(ctx, &other))
		for _, set := range sets {
			for _, of := range []holdfast.JobID{s.job.ID, other.ID} {
				b := set.Set
				b.ID, b.Account, b.Site, b.Job = 0, holdfast.FirstID, site.ID, of
				require(t, tx.InsertSet(ctx, &b))
				c := holdfast.Copy{Account: holdfast.FirstID, Set: b.ID, Repository: r.ID, Snapshot: "cafe", State: set.Copies[0].State}
				require(t, tx.InsertCopy(ctx, &c))
				// A copy of an attempt before it, which stays as it is.
				c.ID, c.State = 0, holdfast.CopyOrphaned
				require(t, tx.InsertCopy(ctx, &c))
				if slices.ContainsFunc(restores, func(e holdfast.Execution) bool { return e.Set == set.Set.ID }) && of == s.job.ID {
					require(t, tx.InsertExecution(ctx, &holdfast.Execution{
						Account: holdfast.FirstID, Site: site.ID, Job: s.job.ID, Type: holdfast.JobRestore, Set: b.ID,
						Status: holdfast.Status{State: holdfast.StateQueued},
					}))
				}
			}
		}
		return nil
	}))
	return s
}

func itoa(id holdfast.SetID) string { return strconv.FormatInt(int64(id), 10) }

func require(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copies returns the states of all readable or expired copies by set.
func (s stored) copies(t *testing.T) map[holdfast.SetID]holdfast.CopyState {
	t.Helper()
	all := map[holdfast.SetID]holdfast.CopyState{}
	require(t, s.View(t.Context(), func(r store.Reader) error {
		for _, state := range []holdfast.CopyState{
			holdfast.CopyComplete, holdfast.CopyVerified, holdfast.CopyDamaged, holdfast.CopyUnconfirmed, holdfast.CopyWriting, holdfast.CopyExpired,
		} {
			list, err := r.CopiesInState(t.Context(), state, 0)
			if err != nil {
				return err
			}
			for _, c := range list {
				all[c.Set] = c.State
			}
		}
		return nil
	}))
	return all
}

// run makes the plan and executes it, in one transaction.
func (s stored) run(t *testing.T) expire.Plan {
	t.Helper()
	var p expire.Plan
	require(t, s.Update(t.Context(), func(tx store.Tx) error {
		in, err := expire.Read(t.Context(), tx, s.job)
		if err != nil {
			return err
		}
		p = expire.Decide(in)
		return p.Execute(t.Context(), tx, expire.Cause{Kind: expire.KindExpired, Time: now, Actor: "worker w1", Execution: 1234})
	}))
	return p
}

// TestWhatIsPlannedIsExecuted compares the copies and the events after a plan
// with what the plan says.
func TestWhatIsPlannedIsExecuted(t *testing.T) {
	s := keep(t, "1F+p 2D+ 3Dx 4F+ 5D+r 6Fv 7F+ 8Du 9Fx 10F+ 11Fw")
	before := s.copies(t)
	dry := expire.Plan{}
	require(t, s.View(t.Context(), func(r store.Reader) error {
		in, err := expire.Read(t.Context(), r, s.job)
		dry = expire.Decide(in)
		return err
	}))
	p := s.run(t)
	if text(p) != text(dry) {
		t.Errorf("the plan that was executed differs from the dry run:\n%s\n%s", text(p), text(dry))
	}
	var want []holdfast.SetID
	for _, v := range p.Drops() {
		want = append(want, v.Set.ID)
		before[v.Set.ID] = holdfast.CopyExpired
	}
	if len(want) != 3 {
		t.Fatalf("the plan drops %v, want three sets:\n%s", want, text(p))
	}
	for id, state := range s.copies(t) {
		if state != before[id] {
			t.Errorf("set %d: its copy is %s, want %s", id, state, before[id])
		}
	}
	var got []holdfast.SetID
	require(t, s.View(t.Context(), func(r store.Reader) error {
		events, err := r.Events(t.Context(), holdfast.FirstID, 0, 0)
		for _, e := range events {
			var data struct {
				Code, Reason string
				Execution    holdfast.ExecutionID
				Copies       []struct{ State holdfast.CopyState }
			}
			require(t, json.Unmarshal(e.Data, &data))
			i := slices.IndexFunc(p.Sets, func(v expire.Verdict) bool { return e.Subject == "backup_set "+itoa(v.Set.ID) })
			if i < 0 || e.Kind != expire.KindExpired || e.Actor != "worker w1" || !e.Time.Equal(now) || data.Execution != 1234 ||
				data.Reason != p.Sets[i].Reason || data.Code != string(p.Sets[i].Code) || len(data.Copies) != 1 || data.Copies[0].State == holdfast.CopyExpired {
				t.Errorf("event: got %+v", e)
				continue
			}
			got = append(got, p.Sets[i].Set.ID)
		}
		return err
	}))
	if !slices.Equal(got, want) {
		t.Errorf("events tell of %v, want %v", got, want)
	}
	if again := s.run(t); len(again.Drops()) > 0 {
		t.Errorf("the next plan drops more:\n%s", text(again))
	}
}

// TestAPlanOfAnotherSnapshotIsRefused executes a plan after somebody has moved a
// copy: nothing of it happens.
func TestAPlanOfAnotherSnapshotIsRefused(t *testing.T) {
	s := keep(t, "1F+ 2F+ 3F+ 4F+")
	var p expire.Plan
	require(t, s.View(t.Context(), func(r store.Reader) error {
		in, err := expire.Read(t.Context(), r, s.job)
		p = expire.Decide(in)
		return err
	}))
	oldest := p.Sets[len(p.Sets)-1].Copies[0]
	require(t, s.Update(t.Context(), func(tx store.Tx) error {
		verified := oldest
		verified.State = holdfast.CopyVerified
		return tx.MoveCopy(t.Context(), oldest, verified)
	}))
	err := s.Update(t.Context(), func(tx store.Tx) error { return p.Execute(t.Context(), tx, expire.Cause{}) })
	if holdfast.ErrorCode(err) != holdfast.CodeConflict || !strings.Contains(err.Error(), itoa(oldest.Set)) {
		t.Errorf("got %v, want a conflict that names the set", err)
	}
	for id, state := range s.copies(t) {
		if state == holdfast.CopyExpired {
			t.Errorf("set %d has expired", id)
		}
	}
}
