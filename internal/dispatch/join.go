package dispatch

import (
	"context"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// handleJoin takes a new worker in.
func (d *Dispatcher) handleJoin(ctx context.Context, m *nats.Msg) {
	j, err := wire.Decode[wire.Join](m.Data)
	if err != nil {
		d.log.InfoContext(ctx, "join dropped", "error", err)
		return
	}
	r := &wire.JoinReply{}
	w, err := d.join(ctx, j)
	if err != nil {
		r.Failure = d.fail(ctx, wire.KindJoin, err, "worker", j.Name)
	} else {
		r.Worker, r.Name, r.Pools = w.ID, w.Name, w.Pools
		d.log.InfoContext(ctx, "worker joined", "worker", w.Name, "worker_id", int64(w.ID))
	}
	d.reply(ctx, m, wire.JoinInboxPrefix(holdfast.NewSecret(j.Secret)), r)
}

// join uses up the join token and makes the worker, in one transaction: a token
// works once. The same worker that asks again, because its answer was lost, is
// told again.
func (d *Dispatcher) join(ctx context.Context, j wire.Join) (holdfast.Worker, error) {
	refused := holdfast.Errorf(holdfast.CodeForbidden, "the join token is unknown, used or expired").
		WithHint("invite the worker again")
	var w holdfast.Worker
	err := d.update(ctx, func(tx store.Tx) error {
		now := d.cfg.Now()
		cred, err := tx.CredentialByHash(ctx, HashJoinSecret(j.Secret))
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound || err == nil && cred.Kind != holdfast.CredentialJoin {
			return refused
		}
		if err != nil {
			return err
		}
		if !cred.Valid(now) {
			w, err = tx.WorkerByKey(ctx, j.Key)
			if err == nil && w.Removed.IsZero() && w.SealKey == j.SealKey && cred.Revoked.Equal(w.Created) {
				return nil
			}
			return refused
		}
		cred.Revoked, cred.LastUsed = now, now
		if err := tx.UpdateCredential(ctx, cred); err != nil {
			return err
		}
		name := cred.Name
		if holdfast.ValidName("worker", name) != nil {
			name = j.Name
		}
		pools := cred.Pools
		if len(pools) == 0 {
			pools = []string{holdfast.DefaultPool}
		}
		w = holdfast.Worker{
			Account: cred.Account, Name: name, Key: j.Key, SealKey: j.SealKey, Pools: pools, Hosts: cred.Hosts, Slots: j.Slots, Version: j.Version, Created: now,
		}
		if err := tx.InsertWorker(ctx, &w); err != nil {
			return err
		}
		return event(ctx, tx, now, actorWorker(name), cred.Account, "worker.joined", subjectOfWorker(w.ID), struct {
			Name    string   `json:"name"`
			Key     string   `json:"key"`
			Pools   []string `json:"pools"`
			Version string   `json:"version"`
		}{w.Name, w.Key, w.Pools, w.Version})
	})
	return w, err
}
