package service

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Limits of one page of events.
const (
	defaultEvents = 100
	maxEvents     = 1000
)

// facts is what an event says besides its subject. It never holds a secret.
type facts map[string]any

// record writes an event of the actor. It belongs to the history of the site that
// data names.
func record(ctx context.Context, tx store.Tx, actor holdfast.Actor, now time.Time, subject, kind string, data facts) error {
	e := actorEvent(actor, now, subject, kind)
	e.Site, _ = data["site"].(holdfast.SiteID)
	return insertEvent(ctx, tx, e, data)
}

// recordSite is record for what was done to a site.
func recordSite(ctx context.Context, tx store.Tx, actor holdfast.Actor, now time.Time, site holdfast.SiteID, kind string, data facts) error {
	e := actorEvent(actor, now, siteWord(site), kind)
	e.Site = site
	return insertEvent(ctx, tx, e, data)
}

func actorEvent(actor holdfast.Actor, now time.Time, subject, kind string) holdfast.Event {
	return holdfast.Event{
		Account: actor.Principal.Account, Time: now, Actor: actor.String(), Dialect: actor.Dialect, Subject: subject, Kind: kind,
	}
}

func insertEvent(ctx context.Context, tx store.Tx, e holdfast.Event, data facts) error {
	if data == nil {
		data = facts{}
	}
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode event %s: %w", e.Kind, err)
	}
	e.Data = b
	return tx.InsertEvent(ctx, &e)
}

// Events lists the account's events after the given one, the oldest first: the
// history of who did what. limit 0 means 100; at most 1000 come at once.
func (s *Service) Events(ctx context.Context, actor holdfast.Actor, after holdfast.EventID, limit int) ([]holdfast.Event, error) {
	if err := allow(actor, opEvents, account()); err != nil {
		return nil, err
	}
	switch {
	case after < 0 || limit < 0:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "events after %d, at most %d, cannot be listed", after, limit).
			WithHint("use numbers that are not negative")
	case limit == 0:
		limit = defaultEvents
	}
	limit = min(limit, maxEvents)
	var list []holdfast.Event
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		list, err = r.Events(ctx, actor.Principal.Account, after, limit)
		return err
	})
	return list, err
}

// SiteEvents lists the events of a site, the newest first: what was done to it,
// to its jobs and to their executions. A page without a limit has 100 events; at
// most 1000 come at once.
func (s *Service) SiteEvents(ctx context.Context, actor holdfast.Actor, site holdfast.SiteID, p store.Page) ([]holdfast.Event, error) {
	if p.Limit == 0 {
		p.Limit = defaultEvents
	}
	p.Limit = min(p.Limit, maxEvents)
	var list []holdfast.Event
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		found, err := findSite(ctx, r, actor, opSiteEvents, site)
		if err != nil {
			return err
		}
		if err := checkPage(p); err != nil {
			return err
		}
		list, err = r.SiteEvents(ctx, found.Account, found.ID, p)
		return err
	})
	return list, err
}
