package apitest

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// command is a line of a given section. rest is all behind the first n words.
type command struct {
	words int
	do    func(w *World, ctx context.Context, words []string, rest string) error
}

// commands returns what a given section may say.
func commands() map[string]command {
	return map[string]command{
		"clock":    {1, (*World).moveClock},    // clock 90s
		"job":      {1, (*World).makeJob},      // job berlin nightly [of the whole cluster]
		"run":      {2, (*World).run},          // run 1001 DELTA: through another API
		"start":    {1, (*World).start},        // start 1001 [why the run type differs]
		"phase":    {1, (*World).phase},        // phase 1001 copy
		"succeed":  {2, (*World).succeed},      // succeed 1001 4096: and leave a set of so many bytes
		"warn":     {2, (*World).warn},         // warn 1001 4096 what is damaged
		"move":     {2, (*World).move},         // move 1001 fail [detail]
		"restore":  {2, (*World).restore},      // restore 1001 /srv/restore/a
		"protect":  {1, (*World).protect},      // protect 1001: a set
		"expire":   {1, (*World).expire},       // expire 1001: a set's copies are deleted
		"schedule": {2, (*World).makeSchedule}, // schedule 1001 DELTA 0 3 * * *
		"due":      {0, (*World).runDue},       // what the scheduler does when it looks
		"fail":     {1, (*World).planFailure},  // fail unavailable: the next request's change
		"user":     {2, (*World).makeUser},     // user alice operator [berlin]: whose password is Password
	}
}

func (w *World) give(ctx context.Context, line string) error {
	name, rest, _ := strings.Cut(line, " ")
	c, ok := commands()[name]
	if !ok {
		c, ok = etlCommands()[name]
	}
	if !ok {
		return fmt.Errorf("command %q is unknown", name)
	}
	words := make([]string, c.words)
	for i := range words {
		words[i], rest, _ = strings.Cut(rest, " ")
		if words[i] == "" {
			return fmt.Errorf("command %q needs %d words", name, c.words)
		}
	}
	if err := c.do(w, ctx, words, rest); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

func (w *World) moveClock(_ context.Context, words []string, _ string) error {
	d, err := time.ParseDuration(words[0])
	w.clock.add(d)
	return err
}

func (w *World) planFailure(_ context.Context, words []string, _ string) error {
	w.code = holdfast.Code(words[0])
	return nil
}

// Password is the password of the world's users.
const Password = "correct horse"

func (w *World) makeUser(ctx context.Context, words []string, slug string) error {
	in := service.NewUser{Name: words[0], Role: holdfast.Role(words[1]), Password: holdfast.NewSecret(Password)}
	if slug != "" {
		site, err := w.Service.SiteBySlug(ctx, w.local, slug)
		if err != nil {
			return err
		}
		in.Sites = []holdfast.SiteID{site.ID}
	}
	_, err := w.Service.CreateUser(ctx, w.local, in)
	return err
}

func (w *World) makeJob(ctx context.Context, words []string, name string) error {
	site, err := w.Service.SiteBySlug(ctx, w.local, words[0])
	if err != nil {
		return err
	}
	_, err = w.Service.CreateJob(ctx, w.local, holdfast.Job{
		Site: site.ID, Name: name, Active: !strings.Contains(name, "inactive"), Retention: holdfast.Retention{Count: 2},
	})
	return err
}

func (w *World) run(ctx context.Context, words []string, _ string) error {
	id, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return err
	}
	_, err = w.Service.Execute(ctx, w.local, service.Run{Job: holdfast.JobID(id), RunType: holdfast.RunType(words[1]), IfBusy: service.Queue})
	return err
}

func (w *World) makeSchedule(ctx context.Context, words []string, expression string) error {
	id, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return err
	}
	_, err = w.Service.CreateSchedule(ctx, w.local, holdfast.Schedule{
		Job: holdfast.JobID(id), RunType: holdfast.RunType(words[1]), Expression: expression, Active: true,
	})
	return err
}

func (w *World) runDue(ctx context.Context, _ []string, _ string) error {
	_, err := w.Service.RunDue(ctx)
	return err
}

func (w *World) restore(ctx context.Context, words []string, _ string) error {
	id, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return err
	}
	_, err = w.Service.Restore(ctx, w.local, service.NewRestore{Spec: holdfast.RestoreSpec{Set: holdfast.SetID(id), Directory: words[1]}})
	return err
}

// change moves an execution as dispatch does, and lets fn fill the rest.
func (w *World) change(ctx context.Context, id string, m holdfast.Move, fn func(ctx context.Context, tx store.Tx, e *holdfast.Execution) error) error {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return err
	}
	return w.store.Update(ctx, func(tx store.Tx) error {
		prev, err := tx.Execution(ctx, 0, holdfast.ExecutionID(n))
		if err != nil {
			return err
		}
		next := prev
		if m != "" {
			if next.Status, err = prev.Next(m); err != nil {
				return err
			}
		}
		now := w.clock.Now()
		if m == holdfast.MoveStart {
			next.Worker, next.Request, next.Restarted = w.worker.ID, id+"."+strconv.FormatUint(uint64(next.Fence), 10), now
			if next.Started.IsZero() {
				next.Started = now
			}
		}
		if next.State == holdfast.StateEnded {
			next.Ended = now
		}
		if err := fn(ctx, tx, &next); err != nil {
			return err
		}
		return tx.MoveExecution(ctx, prev, next)
	})
}

func (w *World) start(ctx context.Context, words []string, why string) error {
	return w.change(ctx, words[0], holdfast.MoveStart, func(_ context.Context, _ store.Tx, e *holdfast.Execution) error {
		if why != "" {
			e.RunType, e.RunTypeReason = holdfast.RunFull, why
		}
		return nil
	})
}

func (w *World) phase(ctx context.Context, words []string, name string) error {
	return w.change(ctx, words[0], "", func(_ context.Context, _ store.Tx, e *holdfast.Execution) error {
		e.Progress.Phase = name
		return nil
	})
}

func (w *World) move(ctx context.Context, words []string, detail string) error {
	return w.change(ctx, words[0], holdfast.Move(words[1]), func(_ context.Context, _ store.Tx, e *holdfast.Execution) error {
		if detail != "" {
			e.Detail = detail
		}
		return nil
	})
}

func (w *World) succeed(ctx context.Context, words []string, _ string) error {
	return w.finish(ctx, words, holdfast.MoveSucceed, "")
}

func (w *World) warn(ctx context.Context, words []string, detail string) error {
	return w.finish(ctx, words, holdfast.MoveWarn, detail)
}

// finish ends an execution well; a backup leaves a set with one copy.
func (w *World) finish(ctx context.Context, words []string, m holdfast.Move, detail string) error {
	size, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil {
		return err
	}
	return w.change(ctx, words[0], m, func(ctx context.Context, tx store.Tx, e *holdfast.Execution) error {
		e.StoredSize, e.Detail = size, detail
		if e.Type == holdfast.JobRestore {
			return nil
		}
		if e.Set, err = tx.ReserveSetID(ctx); err != nil {
			return err
		}
		set := holdfast.BackupSet{
			ID: e.Set, Account: e.Account, Site: e.Site, Job: e.Job, Execution: e.ID, Engine: e.Engine, RunType: e.RunType,
			Started: e.Started, Stopped: e.Ended, Bytes: size, Added: size, Damaged: detail,
			Physical: holdfast.PhysicalFacts{Version: 170000, Timeline: 1}, Created: e.Ended,
		}
		if err := tx.InsertSet(ctx, &set); err != nil {
			return err
		}
		return tx.InsertCopy(ctx, &holdfast.Copy{
			Account: e.Account, Set: set.ID, Repository: e.Repository, Snapshot: fmt.Sprintf("%064x", set.ID),
			State: holdfast.CopyComplete, Execution: e.ID, Fence: e.Fence, Intended: e.Ended,
		})
	})
}

func (w *World) protect(ctx context.Context, words []string, _ string) error {
	id, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return err
	}
	return w.store.Update(ctx, func(tx store.Tx) error {
		s, err := tx.Set(ctx, 0, holdfast.SetID(id))
		if err != nil {
			return err
		}
		s.Protected = true
		return tx.UpdateSet(ctx, s)
	})
}

func (w *World) expire(ctx context.Context, words []string, _ string) error {
	id, err := strconv.ParseInt(words[0], 10, 64)
	if err != nil {
		return err
	}
	return w.store.Update(ctx, func(tx store.Tx) error {
		copies, err := tx.Copies(ctx, 0, holdfast.SetID(id))
		if err != nil {
			return err
		}
		for _, c := range copies {
			gone := c
			gone.State = holdfast.CopyDeleted
			if err := tx.MoveCopy(ctx, c, gone); err != nil {
				return err
			}
		}
		return nil
	})
}
