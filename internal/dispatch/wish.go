package dispatch

import (
	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// Tell pushes a changed wish to the worker that holds the order. The wish is in
// the database already: a lost push is made up for by the answer to the next
// beat.
func (d *Dispatcher) Tell(w holdfast.WorkerID, e holdfast.ExecutionID, f holdfast.Fence, wanted holdfast.Wanted) {
	if w == 0 || f == 0 {
		return // never started: nobody holds an order
	}
	d.push(w, wire.Command{Kind: wire.CommandWish, Execution: e, Fence: f, Wanted: wanted})
	now := d.clock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if known := d.watches[e]; known != nil && known.fence == f {
		known.want(wanted, now)
	}
}

// push sends a command that takes no answer.
func (d *Dispatcher) push(w holdfast.WorkerID, c wire.Command) {
	b, err := wire.Encode(&c)
	if err == nil {
		err = d.conn.Publish(wire.CommandSubject(w), b)
	}
	if err != nil {
		d.log.Info("command not sent", "worker_id", int64(w), "command", string(c.Kind), "error", err)
	}
}
