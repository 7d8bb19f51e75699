package repository

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// KeyUse says whose password opens a slot. It is written when the slot is made,
// and nobody vouches for it.
type KeyUse string

// The uses. A slot that says none was made by another program, or before slots said
// so.
const (
	UseService KeyUse = "service" // the installation's: its jobs end without it
	UseKit     KeyUse = "kit"     // of a recovery kit
	UsePerson  KeyUse = "person"  // that somebody has added
)

// KeySlot is one password of the repository.
type KeySlot struct {
	ID       string // of its object, in hexadecimal
	Use      KeyUse
	Created  time.Time
	Username string
	Hostname string
	Current  bool  // the repository was opened with it
	Damaged  error // why it cannot be read; the fields above are empty then
}

// KeySlots returns the repository's key slots, in the order of their ids. One
// that cannot be read comes with the reason.
func (r *Repository) KeySlots(ctx context.Context) ([]KeySlot, error) {
	ids, err := list(ctx, r.bucket, kindKey())
	if err != nil {
		return nil, err
	}
	all := make([]KeySlot, 0, len(ids))
	for _, id := range ids {
		s := KeySlot{ID: id.String(), Current: id == r.slot}
		data, err := fetch(ctx, r.bucket, kindKey(), id)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue // removed meanwhile
		}
		var k keyJSON
		if err == nil {
			k, err = parseKey(data)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			s.Damaged = err
		} else {
			s.Use, s.Created, s.Username, s.Hostname = k.Use, k.Created, k.Username, k.Hostname
		}
		all = append(all, s)
	}
	return all, nil
}

// AddKey gives the repository one more password and returns the id of its slot.
// Nothing else is written: every slot holds the same master key.
func (r *Repository) AddKey(ctx context.Context, password holdfast.Secret, use KeyUse) (string, error) {
	p, err := paramsFor(use, r.now)
	if err != nil {
		return "", err
	}
	id, err := addKey(ctx, r.bucket, r.key, password, use, p, r.now())
	if err != nil {
		return "", err
	}
	// A slot that does not open is worse than none: its owner trusts it.
	if err := r.tryKey(ctx, id, password); err != nil {
		return "", errors.Join(fmt.Errorf("open the new key: %w", err), r.remove(context.WithoutCancel(ctx), kindKey(), id))
	}
	return id.String(), nil
}

// tryKey opens a slot and compares what it gives.
func (r *Repository) tryKey(ctx context.Context, id hash.ID, password holdfast.Secret) error {
	data, err := fetch(ctx, r.bucket, kindKey(), id)
	if err != nil {
		return err
	}
	k, err := parseKey(data)
	if err != nil {
		return err
	}
	master, err := k.open(password)
	if err != nil {
		return err
	}
	sealed, err := readConfig(ctx, r.bucket)
	if err != nil {
		return err
	}
	if _, err := master.OpenInPlace(sealed); err != nil {
		return fmt.Errorf("the key that it gives is another one: %w", err)
	}
	return nil
}

// ChangePassword gives the slot that the repository was opened with another
// password: a new slot, and then the old one is removed. The data stays as it is.
// The password of the service and those of recovery kits are written elsewhere,
// too, and refused with CodeConflict.
func (r *Repository) ChangePassword(ctx context.Context, password holdfast.Secret) (string, error) {
	old, err := r.findSlot(ctx, r.slot)
	if err != nil {
		return "", err
	}
	switch old.Use {
	case UseService:
		return "", holdfast.Errorf(holdfast.CodeConflict, "this is the service's own key: with another password its jobs would find the repository closed").
			WithHint("give people keys of their own: holdfast repository key add")
	case UseKit:
		return "", holdfast.Errorf(holdfast.CodeConflict, "this is the key of a recovery kit: with another password the kit would open nothing").
			WithHint("make a new kit with: holdfast repository key add --new-kit FILE; then remove this key with the new kit")
	case UsePerson:
	}
	return r.rekey(ctx, password, old.Use, func(context.Context) error { return nil })
}

// ChangeServicePassword is ChangePassword for the service's own slot. record is called
// when the new password opens the repository, and keeps it where the service finds it;
// only then is the old slot removed. When record fails both slots stay: nobody knows
// then which password the service has.
func (r *Repository) ChangeServicePassword(ctx context.Context, password holdfast.Secret, record func(context.Context) error) (string, error) {
	return r.rekey(ctx, password, UseService, record)
}

func (r *Repository) rekey(ctx context.Context, password holdfast.Secret, use KeyUse, record func(context.Context) error) (string, error) {
	id, err := r.AddKey(ctx, password, use)
	if err != nil {
		return "", err
	}
	if err := record(ctx); err != nil {
		return id, err
	}
	// The caller may have gone meanwhile: what has been recorded is finished.
	if err := r.remove(context.WithoutCancel(ctx), kindKey(), r.slot); err != nil {
		return id, holdfast.Wrap(holdfast.ErrorCode(err), err, "the new password works, and the old one does still: %s", holdfast.ErrorMessage(err)).
			WithHint("take the old key %s away: holdfast repository key remove --force", r.slot.Short())
	}
	if r.slot, err = hash.Parse(id); err != nil {
		return id, err
	}
	return id, nil
}

func (r *Repository) findSlot(ctx context.Context, id hash.ID) (KeySlot, error) {
	all, err := r.KeySlots(ctx)
	if err != nil {
		return KeySlot{}, err
	}
	for _, s := range all {
		if s.ID == id.String() {
			return s, nil
		}
	}
	return KeySlot{}, holdfast.Errorf(holdfast.CodeNotFound, "the repository has no key %s", id).
		WithHint("see: holdfast repository key list")
}

// RemoveKey takes a slot away: its password opens the repository no longer. The
// slot that the repository was opened with stays, and so a last one does. A service's
// stays, but for another service, which has old ones of its own, and with force; one that
// does not say whose it is goes with force alone.
// CodeNotFound when there is no such slot, CodeConflict when it must stay.
func (r *Repository) RemoveKey(ctx context.Context, slot string, force bool) error {
	id, err := hash.Parse(slot)
	if err != nil {
		return err
	}
	s, err := r.findSlot(ctx, id)
	switch {
	case err != nil:
		return err
	case s.Current && s.Use == UseService:
		return holdfast.Errorf(holdfast.CodeConflict, "key %s is the service's own, which the repository was opened with, and cannot be removed", id.Short()).
			WithHint("holdfast repository key passwd gives the service another password; holdfast repository remove takes the repository from it")
	case s.Current:
		return holdfast.Errorf(holdfast.CodeConflict, "key %s is the one that the repository was opened with, and cannot be removed", id.Short()).
			WithHint("open the repository with another key, and remove this one then")
	case s.Use == UseService && (!force || !r.isService(ctx)):
		return holdfast.Errorf(holdfast.CodeConflict, "key %s is a service's own, and cannot be removed: its backups and restores would end", id.Short()).
			WithHint("to take the repository from the service: holdfast repository remove; the key is worth nothing without its password then. " +
				"An old key of a service is removed by that service alone, and with --force")
	case s.Use == "" && !force:
		return holdfast.Errorf(holdfast.CodeConflict, "key %s does not say whose it is: it may be the service's", id.Short()).
			WithHint("add --force when you know that nobody needs it")
	}
	return r.remove(ctx, kindKey(), id)
}

// isService reports whether the repository was opened with a service's key.
func (r *Repository) isService(ctx context.Context) bool {
	s, err := r.findSlot(ctx, r.slot)
	return err == nil && s.Use == UseService
}
