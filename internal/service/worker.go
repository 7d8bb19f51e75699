package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// LocalWorkerName is the name of the worker inside serve.
const LocalWorkerName = "local"

// inviteLife is how long a join token may be used.
const inviteLife = 24 * time.Hour

// Invite asks for a join token.
type Invite struct {
	Name  string            // of the worker to come
	Hosts []holdfast.HostID // it will stand on
	Pools []string          // it will serve; empty: the default pool
}

func workerWord(id holdfast.WorkerID) string { return fmt.Sprintf("worker %d", id) }

// Workers lists the account's workers that are not removed, and the worker inside
// serve as far as it serves the account.
func (s *Service) Workers(ctx context.Context, actor holdfast.Actor) ([]holdfast.Worker, error) {
	if err := allow(actor, opWorkers, account()); err != nil {
		return nil, err
	}
	var list []holdfast.Worker
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		list, err = workersOf(ctx, r, actor.Principal.Account)
		return err
	})
	return list, err
}

// workersOf returns the workers that serve an account, with nothing of other
// accounts. The worker inside serve is everybody's: of its hosts only the
// account's are shown, and of its pools only the default one and those of the
// account's sites there. Every account but the default one sees it as soon as it
// stands on one of the account's hosts.
func workersOf(ctx context.Context, r store.Reader, a holdfast.AccountID) ([]holdfast.Worker, error) {
	all, err := r.Workers(ctx)
	if err != nil {
		return nil, err
	}
	hosts, err := r.Hosts(ctx, a)
	if err != nil {
		return nil, err
	}
	sites, err := r.Sites(ctx, a)
	if err != nil {
		return nil, err
	}
	var list []holdfast.Worker
	for _, w := range all {
		if !w.Removed.IsZero() || w.Account != a && w.Account != 0 {
			continue
		}
		if w.Account == 0 {
			w.Hosts = slices.DeleteFunc(w.Hosts, func(id holdfast.HostID) bool {
				return !slices.ContainsFunc(hosts, func(h holdfast.Host) bool { return h.ID == id })
			})
			if len(w.Hosts) == 0 && a != holdfast.FirstID {
				continue
			}
			w.Pools = slices.DeleteFunc(w.Pools, func(pool string) bool {
				return pool != holdfast.DefaultPool && !slices.ContainsFunc(sites, func(site holdfast.Site) bool {
					return site.Pool == pool && w.StandsOn(site.Host)
				})
			})
		}
		list = append(list, w)
	}
	return list, nil
}

// InviteWorker returns a token with which one worker joins, once, within 24
// hours. CodeConflict when the name is taken or no listener for workers is open.
//
// The store knows SHA-256 of the secret that [Dispatcher.JoinToken] wraps: whoever
// takes the join looks the hash up and revokes the credential in the same
// transaction.
func (s *Service) InviteWorker(ctx context.Context, actor holdfast.Actor, in Invite) (holdfast.Secret, error) {
	var none holdfast.Secret
	if err := allow(actor, opInviteWorker, account()); err != nil {
		return none, err
	}
	in, err := in.clean()
	if err != nil {
		return none, err
	}
	secret, err := newSecret(joinPrefix)
	if err != nil {
		return none, err
	}
	text, err := s.cfg.Dispatcher.JoinToken(secret.Reveal())
	if err != nil {
		return none, err
	}
	now := s.now()
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		w, err := tx.WorkerByName(ctx, actor.Principal.Account, in.Name)
		if err == nil && !w.Removed.IsZero() {
			err = notFound("worker")
		}
		if err := free(err, "worker", in.Name); err != nil {
			return err
		}
		for _, id := range in.Hosts {
			if _, err := findHost(ctx, tx, actor, opInviteWorker, id); err != nil {
				return err
			}
		}
		c := holdfast.Credential{
			Account: actor.Principal.Account, Principal: actor.Principal.ID, Kind: holdfast.CredentialJoin, Name: in.Name,
			Hash: hashSecret(secret), Hosts: in.Hosts, Pools: in.Pools, Created: now, Expires: now.Add(inviteLife),
		}
		if err := tx.InsertCredential(ctx, &c); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, fmt.Sprintf("worker %q", in.Name), "worker.invited",
			facts{"hosts": in.Hosts, "pools": in.Pools, "expires": c.Expires})
	})
	if err != nil {
		return none, err
	}
	s.cfg.Log.InfoContext(ctx, "worker invited", "worker", in.Name, "actor", actor.String())
	return holdfast.NewSecret(text), nil
}

// clean checks an invitation and fills its defaults.
func (in Invite) clean() (Invite, error) {
	if err := holdfast.ValidName("worker", in.Name); err != nil {
		return in, err
	}
	if in.Name == LocalWorkerName {
		return in, holdfast.Errorf(holdfast.CodeConflict, "the worker inside the server is called %q", in.Name).WithHint("choose another name")
	}
	if len(in.Hosts) == 0 {
		return in, holdfast.Errorf(holdfast.CodeInvalid, "the worker stands on no host").
			WithHint("name the hosts whose directories it may touch")
	}
	if len(in.Pools) == 0 {
		in.Pools = []string{holdfast.DefaultPool}
	}
	for _, pool := range in.Pools {
		if err := holdfast.ValidName("pool", pool); err != nil {
			return in, err
		}
		if strings.Contains(pool, ".") {
			return in, holdfast.Errorf(holdfast.CodeInvalid, "pool %q holds a dot", pool).WithHint("name the pool without dots")
		}
	}
	in.Hosts = slices.Compact(slices.Sorted(slices.Values(in.Hosts)))
	in.Pools = slices.Compact(slices.Sorted(slices.Values(in.Pools)))
	return in, nil
}

// RemoveWorker removes a worker and cuts it off. What it runs falls silent and
// goes to another one.
func (s *Service) RemoveWorker(ctx context.Context, actor holdfast.Actor, id holdfast.WorkerID) error {
	if err := allow(actor, opRemoveWorker, account()); err != nil {
		return err
	}
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		w, err := tx.Worker(ctx, id)
		switch {
		case err != nil:
			return found(err, workerWord(id))
		case !w.Removed.IsZero(), w.Account != 0 && w.Account != actor.Principal.Account:
			return notFound(workerWord(id))
		case w.Account == 0:
			return holdfast.Errorf(holdfast.CodeConflict, "the worker inside the server cannot be removed").
				WithHint("start the server with: holdfast serve --no-worker")
		}
		w.Removed = now
		if err := tx.UpdateWorker(ctx, w); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, workerWord(id), "worker.removed", facts{"name": w.Name})
	})
	if err != nil {
		return err
	}
	s.cfg.Dispatcher.Disconnect(id)
	s.cfg.Log.InfoContext(ctx, "worker removed", "worker", id, "actor", actor.String())
	return nil
}

// LocalWorker returns the worker inside serve with the seal key, slots and
// version of this start. It serves the default pool and the pools of the sites
// on its hosts, and does the maintenance.
func (s *Service) LocalWorker(ctx context.Context, sealKey string, slots int, version string) (holdfast.Worker, error) {
	if slots < 1 {
		return holdfast.Worker{}, holdfast.Errorf(holdfast.CodeInvalid, "a worker with %d slots runs nothing", slots).
			WithHint("use 1 or more")
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	now := s.now()
	var w holdfast.Worker
	err := s.cfg.Store.Update(ctx, func(tx store.Tx) error {
		var err error
		if w, err = ensureLocal(ctx, tx, now); err != nil {
			return err
		}
		w.SealKey, w.Slots, w.Version = sealKey, slots, version
		if err := tx.UpdateWorker(ctx, w); err != nil {
			return err
		}
		return insertEvent(ctx, tx, holdfast.Event{
			Account: holdfast.FirstID, Time: now, Actor: "worker " + LocalWorkerName, Subject: workerWord(w.ID), Kind: "worker.registered",
		}, facts{"slots": slots, "version": version})
	})
	if err != nil {
		return holdfast.Worker{}, fmt.Errorf("register local worker: %w", err)
	}
	return w, nil
}

// ensureLocal returns the row of the worker inside serve and makes it when it is
// missing. Until the worker starts it has no slots.
func ensureLocal(ctx context.Context, tx store.Tx, now time.Time) (holdfast.Worker, error) {
	w, err := tx.WorkerByName(ctx, 0, LocalWorkerName)
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return w, err
	}
	w = holdfast.Worker{Name: LocalWorkerName, Pools: []string{holdfast.DefaultPool}, Maintenance: true, Created: now}
	err = tx.InsertWorker(ctx, &w)
	return w, err
}

// standLocal puts the worker inside serve on a host.
func standLocal(ctx context.Context, tx store.Tx, h holdfast.HostID, now time.Time) error {
	w, err := ensureLocal(ctx, tx, now)
	if err != nil || w.StandsOn(h) {
		return err
	}
	w.Hosts = append(slices.Clone(w.Hosts), h)
	return tx.UpdateWorker(ctx, w)
}

// serveLocal lets the worker inside serve take a pool when it stands on the
// host: on one machine a site's pool needs nobody to set it up.
func serveLocal(ctx context.Context, tx store.Tx, h holdfast.HostID, pool string) error {
	w, err := tx.WorkerByName(ctx, 0, LocalWorkerName)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return nil
	case err != nil, !w.StandsOn(h), slices.Contains(w.Pools, pool):
		return err
	}
	w.Pools = append(slices.Clone(w.Pools), pool)
	return tx.UpdateWorker(ctx, w)
}

// leaveHost takes every worker off a host.
func leaveHost(ctx context.Context, tx store.Tx, h holdfast.HostID) error {
	list, err := tx.Workers(ctx)
	if err != nil {
		return err
	}
	for _, w := range list {
		if !w.StandsOn(h) {
			continue
		}
		w.Hosts = slices.DeleteFunc(slices.Clone(w.Hosts), func(id holdfast.HostID) bool { return id == h })
		if err := tx.UpdateWorker(ctx, w); err != nil {
			return err
		}
	}
	return nil
}
