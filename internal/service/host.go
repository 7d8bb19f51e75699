package service

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// maxAddress bounds a host's address, in bytes: the longest DNS name.
const maxAddress = 255

// NewHost asks for a host.
type NewHost struct {
	Name    string
	Address string // for people
	// Remote is true when the machine is another one than the server's: workers
	// join for it. Otherwise the worker inside serve stands on it.
	Remote bool
}

func hostWord(id holdfast.HostID) string { return fmt.Sprintf("host %d", id) }

// findHost returns the host when the actor may do op to it.
func findHost(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.HostID) (holdfast.Host, error) {
	h, err := r.Host(ctx, actor.Principal.Account, id)
	if err != nil {
		return holdfast.Host{}, found(err, hostWord(id))
	}
	t := target{what: hostWord(id)}
	if bound(actor) {
		sites, err := r.Sites(ctx, actor.Principal.Account)
		if err != nil {
			return holdfast.Host{}, err
		}
		for _, site := range sites {
			if site.Host == id {
				t.sites = append(t.sites, site.ID)
			}
		}
	}
	return h, allow(actor, op, t)
}

// CreateHost makes a host. Unless it is remote, the worker inside serve stands
// on it from now on: only the owner of the socket may make such a one in another
// account than the default one. CodeConflict for a name that is taken.
func (s *Service) CreateHost(ctx context.Context, actor holdfast.Actor, in NewHost) (holdfast.Host, error) {
	if err := allow(actor, opCreateHost, account()); err != nil {
		return holdfast.Host{}, err
	}
	if err := in.validate(); err != nil {
		return holdfast.Host{}, err
	}
	if !in.Remote {
		err := onServer(actor, "a host", "make it a remote one, and let a worker join for it; or ask the server's owner to add it with --account")
		if err != nil {
			return holdfast.Host{}, err
		}
	}
	now := s.now()
	var h holdfast.Host
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		_, err := tx.HostByName(ctx, actor.Principal.Account, in.Name)
		if err := free(err, "host", in.Name); err != nil {
			return err
		}
		h = holdfast.Host{Account: actor.Principal.Account, Name: in.Name, Address: in.Address, Created: now}
		if err := tx.InsertHost(ctx, &h); err != nil {
			return err
		}
		if !in.Remote {
			if err := standLocal(ctx, tx, h.ID, now); err != nil {
				return err
			}
		}
		return record(ctx, tx, actor, now, hostWord(h.ID), "host.created",
			facts{"name": h.Name, "address": h.Address, "remote": in.Remote})
	})
	if err != nil {
		return holdfast.Host{}, err
	}
	s.cfg.Log.InfoContext(ctx, "host created", "host", h.ID, "actor", actor.String())
	return h, nil
}

func (in NewHost) validate() error {
	if err := holdfast.ValidName("host", in.Name); err != nil {
		return err
	}
	if len(in.Address) > maxAddress || strings.ContainsFunc(in.Address, isControl) {
		return holdfast.Errorf(holdfast.CodeInvalid, "the host's address is longer than %d bytes or holds a control character", maxAddress).
			WithHint("give a host name or an address")
	}
	return nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// free turns the result of looking a name up into the answer to whether it may
// be given: the look-up must have failed with CodeNotFound.
func free(err error, what, name string) error {
	switch {
	case err == nil:
		return holdfast.Errorf(holdfast.CodeConflict, "%s %q exists already", what, name).WithHint("choose another name")
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return nil
	}
	return err
}

// Hosts lists the hosts; a credential that is bound to sites sees theirs.
func (s *Service) Hosts(ctx context.Context, actor holdfast.Actor) ([]holdfast.Host, error) {
	if err := allow(actor, opHosts, account()); err != nil {
		return nil, err
	}
	var list []holdfast.Host
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		shared, err := hostsInScope(ctx, r, actor)
		list = slices.Clone(shared)
		return err
	})
	return list, err
}

// hostsInScope lists the hosts that sites of the credential stand on. The list is
// shared: callers do not change it.
func hostsInScope(ctx context.Context, r store.Reader, actor holdfast.Actor) ([]holdfast.Host, error) {
	list, err := r.Hosts(ctx, actor.Principal.Account)
	if err != nil || !bound(actor) {
		return list, err
	}
	sites, err := sitesInScope(ctx, r, actor)
	used := make(map[holdfast.HostID]bool, len(sites))
	for _, site := range sites {
		used[site.Host] = true
	}
	return those(list, func(h holdfast.Host) bool { return used[h.ID] }), err
}

// Host returns a host.
func (s *Service) Host(ctx context.Context, actor holdfast.Actor, id holdfast.HostID) (holdfast.Host, error) {
	var h holdfast.Host
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		h, err = findHost(ctx, r, actor, opHost, id)
		return err
	})
	if err != nil {
		return holdfast.Host{}, err
	}
	return h, nil
}

// DeleteHost deletes a host; CodeConflict while a site stands on it, or an
// execution that has not ended waits for its workers.
func (s *Service) DeleteHost(ctx context.Context, actor holdfast.Actor, id holdfast.HostID) error {
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		h, err := findHost(ctx, tx, actor, opDeleteHost, id)
		if err != nil {
			return err
		}
		err = unneeded(ctx, tx, actor, hostWord(id), func(e holdfast.Execution) bool { return e.Host == id })
		if err != nil {
			return err
		}
		if err := tx.DeleteHost(ctx, actor.Principal.Account, id); err != nil {
			return err
		}
		if err := leaveHost(ctx, tx, id); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, hostWord(id), "host.deleted", facts{"name": h.Name})
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "host deleted", "host", id, "actor", actor.String())
	}
	return err
}
