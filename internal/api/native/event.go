package native

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Event is one line of the history: who did what to which thing.
type Event struct {
	ID      holdfast.EventID `json:"id"`
	Time    time.Time        `json:"time"`
	Actor   string           `json:"actor"`
	Dialect string           `json:"dialect,omitempty" doc:"Which API it came through"`
	Subject string           `json:"subject"`
	Kind    string           `json:"kind"`
	Data    json.RawMessage  `json:"data,omitempty"`
}

// Events is a part of the history.
type Events struct {
	Items []Event          `json:"items"`
	Next  holdfast.EventID `json:"next,omitempty" doc:"Of the account's history: ask for what comes after this id next"`
}

type listEvents struct {
	After holdfast.EventID `query:"after" minimum:"0" doc:"Leave out this event and those before it"`
	Limit int              `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

type siteEvents struct {
	Site string `path:"site" doc:"Id or slug"`
	Page
}

func event(e holdfast.Event) Event {
	return Event{ID: e.ID, Time: utc(e.Time), Actor: e.Actor, Dialect: e.Dialect, Subject: e.Subject, Kind: e.Kind, Data: e.Data}
}

func (a *api) registerEvents() {
	register(a, operation{
		id: "list-site-events", method: http.MethodGet, path: "/sites/{site}/events", tag: "events",
		summary: "Read the history of a site, the newest first",
	}, func(ctx context.Context, actor holdfast.Actor, in *siteEvents) (*output[Events], error) {
		site, err := a.site(ctx, actor, in.Site)
		if err != nil {
			return nil, err
		}
		all, err := a.Service.SiteEvents(ctx, actor, site.ID, in.store())
		if err != nil {
			return nil, err
		}
		out := Events{Items: make([]Event, 0, len(all))}
		for _, e := range all {
			out.Items = append(out.Items, event(e))
		}
		return &output[Events]{Body: out}, nil
	})
	register(a, operation{id: "list-events", method: http.MethodGet, path: "/events", tag: "events", summary: "Read the history, the oldest first"},
		func(ctx context.Context, actor holdfast.Actor, in *listEvents) (*output[Events], error) {
			all, err := a.Service.Events(ctx, actor, in.After, in.Limit)
			if err != nil {
				return nil, err
			}
			out := Events{Items: make([]Event, 0, len(all)), Next: in.After}
			for _, e := range all {
				out.Items = append(out.Items, event(e))
				out.Next = e.ID
			}
			return &output[Events]{Body: out}, nil
		})
}
