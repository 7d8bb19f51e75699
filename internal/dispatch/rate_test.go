package dispatch_test

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// TestRateOfASite backs up what would take half a minute at the site's limit, which is
// taken away meanwhile; and reads some of it back at that limit.
func TestRateOfASite(t *testing.T) {
	t.Parallel()
	s := &stand{world: newWorld(t, true)}
	s.start(t, nil)
	limit := func(bytesPerSec int64) {
		s.update(t, func(tx store.Tx) error {
			site, err := tx.Site(t.Context(), s.account, s.site)
			site.BytesPerSec = bytesPerSec
			if err != nil {
				return err
			}
			return tx.UpdateSite(t.Context(), site)
		})
	}
	large, small := randomBytes(1, 32<<20), randomBytes(2, 3<<20)
	add := func(ctx context.Context, sink engine.Sink, name string, data []byte) error {
		return sink.Add(ctx, engine.File{
			Node: engine.Node{Path: "pgdata/" + name, Mode: 0o600, Size: int64(len(data))},
			Open: func() (engine.Content, error) { return content{bytes.NewReader(data)}, nil },
		})
	}
	began, read := make(chan struct{}), make(chan time.Duration, 1)
	s.startWorker(t, "local", script{
		backup: func(ctx context.Context, _ engine.Backup, sink engine.Sink) (engine.Result, error) {
			close(began)
			if err := add(ctx, sink, "large", large); err != nil {
				return engine.Result{}, err
			}
			return engine.Result{Bytes: 1}, add(ctx, sink, "small", small)
		},
		restore: func(ctx context.Context, _ engine.Restore, src engine.Source) (engine.Result, error) {
			start := time.Now()
			got, err := src.ReadFile(ctx, "pgdata/small", 4<<20)
			read <- time.Since(start)
			if err == nil && !bytes.Equal(got, small) {
				err = holdfast.Errorf(holdfast.CodeInvalid, "the file is another one")
			}
			return engine.Result{}, err
		},
	}, newShelf(), func(c *worker.Config) { c.OpenBucket, c.OpenRepository = openBucket, nil })

	limit(holdfast.MinBytesPerSec)
	id := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	<-began
	start := time.Now()
	time.Sleep(2 * time.Second)
	if e := s.execution(t, id); e.State != holdfast.StateRunning {
		t.Fatalf("32 MiB were stored in 2 s at 1 MiB a second: %+v", e)
	}
	limit(0)
	e := s.waitEnded(t, id, 20*time.Second, holdfast.OutcomeSucceeded)
	if took := time.Since(start); took > 15*time.Second {
		t.Errorf("the backup took %s: it did not hear that the limit is gone", took)
	}

	limit(holdfast.MinBytesPerSec)
	back := s.queued(s.newRestoreJob(t))
	back.Type, back.RunAsked, back.Set = holdfast.JobRestore, "", e.Set
	back.Restore = &holdfast.RestoreSpec{Set: e.Set, Host: s.host, Directory: "/srv/new"}
	id = s.submit(t, back)
	s.dispatcher.Ring(holdfast.DefaultPool)
	s.waitEnded(t, id, 30*time.Second, holdfast.OutcomeSucceeded)
	if took := <-read; took < 2*time.Second {
		t.Errorf("3 MiB were read in %s at 1 MiB a second", took)
	}
}
