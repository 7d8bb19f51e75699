package service

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Limits of aliases.
const (
	maxAlias   = 64 // characters
	maxAliases = 32 // of one account
)

// NewAccount asks for an account.
type NewAccount struct {
	Name         string
	Organisation string // made when there is none with this name; empty: one with the account's name
	Aliases      []string
}

// AccountView is an account with its organisation.
type AccountView struct {
	holdfast.Account
	Organisation holdfast.Organisation
}

func accountWord(id holdfast.AccountID) string { return fmt.Sprintf("account %d", id) }

// CreateAccount makes an account. CodeConflict for a name or an alias that any
// account of the installation has: that is why only the owner of the server's
// socket may ask.
func (s *Service) CreateAccount(ctx context.Context, actor holdfast.Actor, in NewAccount) (AccountView, error) {
	if err := allow(actor, opCreateAccount, account()); err != nil {
		return AccountView{}, err
	}
	if in.Organisation == "" {
		in.Organisation = in.Name
	}
	if err := holdfast.ValidName("account", in.Name); err != nil {
		return AccountView{}, err
	}
	if err := holdfast.ValidName("organisation", in.Organisation); err != nil {
		return AccountView{}, err
	}
	now := s.now()
	var v AccountView
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		a := holdfast.Account{Name: in.Name, Aliases: slices.Clone(in.Aliases), Created: now}
		if err := namesFree(ctx, tx, a); err != nil {
			return err
		}
		o, err := ensureOrganisation(ctx, tx, holdfast.Organisation{Name: in.Organisation, Created: now})
		if err != nil {
			return err
		}
		a.Organisation = o.ID
		if err := tx.InsertAccount(ctx, &a); err != nil {
			return err
		}
		v = AccountView{a, o}
		return record(ctx, tx, actor, now, accountWord(a.ID), "account.created",
			facts{"name": a.Name, "organisation": o.Name, "aliases": a.Aliases})
	})
	if err != nil {
		return AccountView{}, err
	}
	s.cfg.Log.InfoContext(ctx, "account created", "account", v.Name, "actor", actor.String())
	return v, nil
}

func ensureOrganisation(ctx context.Context, tx store.Tx, o holdfast.Organisation) (holdfast.Organisation, error) {
	list, err := tx.Organisations(ctx)
	if err != nil {
		return o, err
	}
	if i := slices.IndexFunc(list, func(other holdfast.Organisation) bool { return other.Name == o.Name }); i >= 0 {
		return list[i], nil
	}
	err = tx.InsertOrganisation(ctx, &o)
	return o, err
}

// SetAliases changes the aliases of an account. It may call change more than
// once. CodeConflict for one that is another account's name or alias.
func (s *Service) SetAliases(
	ctx context.Context, actor holdfast.Actor, id holdfast.AccountID, change func(aliases []string) []string,
) (AccountView, error) {
	if err := allow(actor, opSetAliases, account()); err != nil {
		return AccountView{}, err
	}
	now := s.now()
	var v AccountView
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		var err error
		if v, err = readAccount(ctx, tx, id); err != nil {
			return err
		}
		v.Aliases = change(slices.Clone(v.Aliases))
		if err := namesFree(ctx, tx, v.Account); err != nil {
			return err
		}
		if err := tx.UpdateAccount(ctx, v.Account); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, accountWord(id), "account.changed", facts{"name": v.Name, "aliases": v.Aliases})
	})
	if err != nil {
		return AccountView{}, err
	}
	s.cfg.Log.InfoContext(ctx, "account changed", "account", v.Name, "actor", actor.String())
	return v, nil
}

// namesFree checks an account's name and aliases: each is one account's alone.
func namesFree(ctx context.Context, r store.Reader, a holdfast.Account) error {
	if len(a.Aliases) > maxAliases {
		return holdfast.Errorf(holdfast.CodeInvalid, "an account with %d aliases has too many", len(a.Aliases)).
			WithHint("use at most %d", maxAliases)
	}
	names := map[string]bool{a.Name: true}
	for _, alias := range a.Aliases {
		if err := validAlias(alias); err != nil {
			return err
		}
		if names[alias] {
			return holdfast.Errorf(holdfast.CodeConflict, "the account has the name %q already", alias).WithHint("give each alias once")
		}
		names[alias] = true
	}
	list, err := r.Accounts(ctx)
	if err != nil {
		return err
	}
	for _, other := range list {
		if other.ID == a.ID {
			continue
		}
		for _, name := range append([]string{other.Name}, other.Aliases...) {
			if names[name] {
				return holdfast.Errorf(holdfast.CodeConflict, "the name %q is taken by account %d", name, other.ID).
					WithHint("choose another name")
			}
		}
	}
	return nil
}

// validAlias takes what people call an account elsewhere: a short id, a UUID. It
// is one part of a path.
func validAlias(alias string) error {
	n := utf8.RuneCountInString(alias)
	odd := func(r rune) bool { return r == '/' || !unicode.IsPrint(r) }
	if n < 1 || n > maxAlias || !utf8.ValidString(alias) || strings.ContainsFunc(alias, odd) || strings.TrimSpace(alias) != alias {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not a valid alias", alias).
			WithHint("use 1 to %d printable characters without a slash, and no blank at either end", maxAlias)
	}
	return nil
}

// readAccount returns an account with its organisation.
func readAccount(ctx context.Context, r store.Reader, id holdfast.AccountID) (AccountView, error) {
	a, err := r.Account(ctx, id)
	if err != nil {
		return AccountView{}, found(err, accountWord(id))
	}
	list, err := r.Organisations(ctx)
	if err != nil {
		return AccountView{}, err
	}
	v := AccountView{Account: a}
	for _, o := range list {
		if o.ID == a.Organisation {
			v.Organisation = o
		}
	}
	return v, nil
}

// accountNamed returns the account with the name or the alias; empty is the
// default account. CodeNotFound when there is none.
func accountNamed(ctx context.Context, r store.Reader, name string) (holdfast.Account, error) {
	if name == "" {
		return r.Account(ctx, holdfast.FirstID)
	}
	list, err := r.Accounts(ctx)
	if err != nil {
		return holdfast.Account{}, err
	}
	for _, a := range list {
		if a.Name == name || slices.Contains(a.Aliases, name) {
			return a, nil
		}
	}
	return holdfast.Account{}, notFound(fmt.Sprintf("account %q", name))
}

// Account returns the actor's account.
func (s *Service) Account(ctx context.Context, actor holdfast.Actor) (AccountView, error) {
	if err := allow(actor, opAccount, account()); err != nil {
		return AccountView{}, err
	}
	var v AccountView
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		v, err = readAccount(ctx, r, actor.Principal.Account)
		return err
	})
	return v, err
}

// Accounts lists the accounts that the actor may know of: its own, or every one
// for the owner of the server's socket.
func (s *Service) Accounts(ctx context.Context, actor holdfast.Actor) ([]AccountView, error) {
	if err := allow(actor, opAccounts, account()); err != nil {
		return nil, err
	}
	var list []AccountView
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		accounts, err := r.Accounts(ctx)
		if err != nil {
			return err
		}
		list = nil
		for _, a := range accounts {
			if a.ID != actor.Principal.Account && !ofInstallation(actor) {
				continue
			}
			v, err := readAccount(ctx, r, a.ID)
			if err != nil {
				return err
			}
			list = append(list, v)
		}
		return nil
	})
	return list, err
}
