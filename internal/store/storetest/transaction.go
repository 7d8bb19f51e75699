package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

var errWanted = errors.New("wanted by the test")

// hasHost reports whether a host of the name is there.
func (f *fixture) hasHost(t testing.TB, name string) bool {
	t.Helper()
	found := false
	f.view(t, func(ctx context.Context, r store.Reader) error {
		_, err := r.HostByName(ctx, f.account, name)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			return nil
		}
		found = err == nil
		return err
	})
	return found
}

func (f *fixture) addHost(ctx context.Context, tx store.Tx, name string) error {
	return tx.InsertHost(ctx, &holdfast.Host{Account: f.account, Name: name})
}

func testRollback(t *testing.T, f *fixture) {
	err := f.Update(t.Context(), func(tx store.Tx) error {
		if err := f.addHost(t.Context(), tx, "gone"); err != nil {
			return err
		}
		if err := tx.InsertEvent(t.Context(), &holdfast.Event{Account: f.account}); err != nil {
			return err
		}
		return errWanted
	})
	if !errors.Is(err, errWanted) {
		t.Errorf("got %v, want the function's own error", err)
	}
	if f.hasHost(t, "gone") {
		t.Error("got a host of a transaction that failed, want no trace")
	}
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "events", []holdfast.Event(nil))(r.Events(ctx, f.account, 0, 0))
		return nil
	})

	// A refused statement does not end the transaction.
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		wantCode(t, "taken name", f.addHost(ctx, tx, f.host.Name), holdfast.CodeConflict)
		return f.addHost(ctx, tx, "kept")
	})
	if !f.hasHost(t, "kept") {
		t.Error("got no host from a transaction that went on after a refusal")
	}
}

func testPanic(t *testing.T, f *fixture) {
	func() {
		defer func() {
			if got := recover(); got != "wanted by the test" {
				t.Errorf("recovered %v, want the function's panic", got)
			}
		}()
		_ = f.Update(t.Context(), func(tx store.Tx) error {
			if err := f.addHost(t.Context(), tx, "panicked"); err != nil {
				return err
			}
			panic("wanted by the test")
		})
	}()
	func() {
		defer func() { _ = recover() }()
		_ = f.View(t.Context(), func(store.Reader) error { panic("wanted by the test") })
	}()
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = f.Update(t.Context(), func(tx store.Tx) error {
			if err := f.addHost(t.Context(), tx, "exited"); err != nil {
				t.Error(err)
			}
			runtime.Goexit()
			return nil
		})
	})
	wg.Wait()
	f.update(t, func(ctx context.Context, tx store.Tx) error { return f.addHost(ctx, tx, "after") })
	for name, want := range map[string]bool{"panicked": false, "exited": false, "after": true} {
		if got := f.hasHost(t, name); got != want {
			t.Errorf("host %q: got %t, want %t", name, got, want)
		}
	}
}

// testGroup runs many writers at once, of which every third fails.
func testGroup(t *testing.T, f *fixture) {
	const writers, each = 24, 6
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				fails := (w+i)%3 == 0
				err := f.Update(t.Context(), func(tx store.Tx) error {
					if err := f.addHost(t.Context(), tx, fmt.Sprintf("h%d-%d", w, i)); err != nil {
						return err
					}
					if fails {
						return errWanted
					}
					return nil
				})
				if fails != errors.Is(err, errWanted) || !fails && err != nil {
					t.Errorf("writer %d, %d: got %v", w, i, err)
				}
				if got := f.hasHost(t, fmt.Sprintf("h%d-%d", w, i)); got == fails {
					t.Errorf("writer %d, %d: host is there: %t, right after an update that failed: %t", w, i, got, fails)
				}
			}
		})
	}
	wg.Wait()
}

func testOwnWrites(t *testing.T, f *fixture) {
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		e := f.execution(f.job)
		if err := tx.InsertExecution(ctx, &e); err != nil {
			return err
		}
		same(t, "execution", e)(tx.Execution(ctx, f.account, e.ID))
		same(t, "busy", e)(tx.BusyExecution(ctx, f.job.ID))
		list, n, err := tx.Executions(ctx, f.account, store.ExecutionFilter{Job: f.job.ID})
		if err != nil {
			return err
		}
		wantEqual(t, "list", list, []holdfast.Execution{e})
		wantEqual(t, "how many", n, 1)
		return nil
	})
}

func testSnapshot(t *testing.T, f *fixture) {
	first := f.add(t, f.job, nil)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		f.move(t, first, holdfast.MoveStart)
		f.add(t, f.job, nil)
		f.update(t, func(ctx context.Context, tx store.Tx) error { return f.addHost(ctx, tx, "later") })
		same(t, "execution", first)(r.Execution(ctx, f.account, first.ID))
		list, n, err := r.Executions(ctx, f.account, store.ExecutionFilter{})
		wantEqual(t, "list", list, []holdfast.Execution{first})
		wantEqual(t, "how many", n, 1)
		code[holdfast.Host](t, "later host", holdfast.CodeNotFound)(r.HostByName(ctx, f.account, "later"))
		return err
	})
	if !f.hasHost(t, "later") {
		t.Error("got no later host in a later snapshot")
	}
}

// testCancelled has one caller leave while another holds the writer.
func testCancelled(t *testing.T, f *fixture) {
	held, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		first := true
		err := f.Update(t.Context(), func(store.Tx) error {
			if first {
				first = false
				close(held)
				<-release
			}
			return nil
		})
		if err != nil {
			t.Errorf("holder: %v", err)
		}
	})
	<-held
	ctx, cancel := context.WithCancelCause(t.Context())
	left := make(chan error, 1)
	wg.Go(func() {
		left <- f.Update(ctx, func(tx store.Tx) error { return f.addHost(t.Context(), tx, "left") })
	})
	select {
	case err := <-left:
		t.Errorf("got %v before the caller left, want it to wait", err)
	case <-time.After(20 * time.Millisecond):
	}
	cancel(errWanted)
	if err := <-left; !errors.Is(err, errWanted) {
		t.Errorf("got %v, want the cause", err)
	}
	close(release)
	wg.Wait()
	f.update(t, func(ctx context.Context, tx store.Tx) error { return f.addHost(ctx, tx, "next") })
	if f.hasHost(t, "left") {
		t.Error("got a host from a caller who had left")
	}
}

func testContextError(t *testing.T, f *fixture) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errWanted)
	ran := false
	if err := f.Update(ctx, func(store.Tx) error { ran = true; return nil }); !errors.Is(err, errWanted) || ran {
		t.Errorf("update: got %v, ran %t; want the cause, and nothing done", err, ran)
	}
	if err := f.View(ctx, func(r store.Reader) error { _, err := r.Accounts(ctx); return err }); !errors.Is(err, errWanted) {
		t.Errorf("view: got %v, want the cause", err)
	}
	for name, late := range map[string]bool{"early": false, "late": true} {
		ctx, cancel := context.WithCancelCause(t.Context())
		err := f.Update(ctx, func(tx store.Tx) error {
			if err := f.addHost(ctx, tx, name); err != nil {
				return err
			}
			if late {
				return nil
			}
			cancel(errWanted)
			return f.addHost(ctx, tx, name+" again")
		})
		cancel(nil)
		if late != (err == nil) || !late && !errors.Is(err, errWanted) {
			t.Errorf("%s: got %v", name, err)
		}
		if got := f.hasHost(t, name); got != late {
			t.Errorf("%s: host is there: %t, want %t", name, got, late)
		}
	}
}

func testClosed(t *testing.T, f *fixture) {
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "update", f.Update(t.Context(), func(store.Tx) error { return nil }), holdfast.CodeUnavailable)
	wantCode(t, "view", f.View(t.Context(), func(store.Reader) error { return nil }), holdfast.CodeUnavailable)
	if err := f.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}
