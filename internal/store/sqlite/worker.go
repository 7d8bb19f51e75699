package sqlite

import (
	"context"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

const (
	workerColumns  = "id, account, " + workerChanging
	workerChanging = "name, key, seal_key, pools, hosts, slots, maintenance, version, created, seen, removed"
)

func workerFields(w *holdfast.Worker) []any {
	return []any{
		idOf(&w.ID), idOf(&w.Account), &w.Name, &w.Key, &w.SealKey, listOf(&w.Pools), listOf(&w.Hosts), &w.Slots, &w.Maintenance, &w.Version,
		micros{&w.Created},
		micros{&w.Seen},
		micros{&w.Removed},
	}
}

// Worker returns one worker, also a removed one.
func (r reader) Worker(ctx context.Context, id holdfast.WorkerID) (holdfast.Worker, error) {
	return one(ctx, r.s, named("worker", id), workerFields, "SELECT "+workerColumns+" FROM workers WHERE id = ?", id)
}

// WorkerByName returns the account's worker of that name; when it has been
// removed, and no other has taken its name, the newest that had it.
func (r reader) WorkerByName(ctx context.Context, a holdfast.AccountID, name string) (holdfast.Worker, error) {
	return one(ctx, r.s, quoted("worker", name), workerFields,
		"SELECT "+workerColumns+" FROM workers WHERE name = ? AND account IS ? ORDER BY removed IS NOT NULL, id DESC LIMIT 1", name, idOf(&a))
}

// WorkerByKey returns the worker with the public key, also a removed one.
func (r reader) WorkerByKey(ctx context.Context, key string) (holdfast.Worker, error) {
	return one(ctx, r.s, quoted("worker with key", key), workerFields,
		"SELECT "+workerColumns+" FROM workers WHERE key = ? AND key <> ''", key)
}

// Workers lists every worker, by id.
func (r reader) Workers(ctx context.Context) ([]holdfast.Worker, error) {
	return many(ctx, r.s, workerFields, "SELECT "+workerColumns+" FROM workers ORDER BY id")
}

// InsertWorker makes a worker.
func (t tx) InsertWorker(ctx context.Context, w *holdfast.Worker) error {
	n, err := t.s.insert(ctx, "INSERT INTO workers ("+workerColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)", workerFields(w)...)
	if err != nil {
		return workerTaken(err, *w)
	}
	w.ID = holdfast.WorkerID(n)
	return nil
}

// UpdateWorker writes everything but id and account.
func (t tx) UpdateWorker(ctx context.Context, w holdfast.Worker) error {
	n, err := t.s.exec(ctx, "UPDATE workers SET ("+workerChanging+") = (?,?,?,?,?,?,?,?,?,?,?) WHERE id = ?", append(workerFields(&w)[2:], w.ID)...)
	return changed(n, workerTaken(err, w), "worker %d", w.ID)
}

func workerTaken(err error, w holdfast.Worker) error {
	if err != nil && strings.Contains(err.Error(), "workers.key") {
		return taken(err, "worker with this key")
	}
	return taken(err, "worker %q", w.Name)
}
