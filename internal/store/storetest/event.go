package storetest

import (
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func testEvents(t *testing.T, f *fixture) {
	var all []holdfast.Event
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		all = nil
		for i := range 5 {
			e := holdfast.Event{Account: f.account, Time: at(i), Actor: "scheduler", Subject: "execution 1001", Kind: "execution.queued"}
			if i == 3 {
				e.Account = 0 // of the installation
			}
			if err := tx.InsertEvent(ctx, &e); err != nil {
				return err
			}
			all = append(all, e)
		}
		return nil
	})
	own := slices.Delete(slices.Clone(all), 3, 4)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "of the account", own)(r.Events(ctx, f.account, 0, 0))
		same(t, "after one", own[2:])(r.Events(ctx, f.account, own[1].ID, 10))
		same(t, "some", own[1:3])(r.Events(ctx, f.account, own[0].ID, 2))
		same(t, "after the last", []holdfast.Event(nil))(r.Events(ctx, f.account, own[3].ID, 2))
		same(t, "of all", all)(r.Events(ctx, 0, 0, 0))
		return nil
	})
	var here, there []holdfast.Event
	oslo := f.addSite(t, "oslo", nil)
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		here, there = nil, nil
		for i := range 3 {
			for _, site := range []holdfast.SiteID{f.site.ID, oslo.ID} {
				e := holdfast.Event{Account: f.account, Time: at(i), Site: site, Kind: "job.updated"}
				if err := tx.InsertEvent(ctx, &e); err != nil {
					return err
				}
				if site == oslo.ID {
					there = append(there, e)
				} else {
					here = append(here, e)
				}
			}
		}
		return nil
	})
	slices.Reverse(here)
	slices.Reverse(there)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "of a site", here)(r.SiteEvents(ctx, f.account, f.site.ID, store.Page{}))
		same(t, "a page of a site's", there[1:2])(r.SiteEvents(ctx, f.account, oslo.ID, store.Page{Offset: 1, Limit: 1}))
		same(t, "of another account", []holdfast.Event(nil))(r.SiteEvents(ctx, f.account+1, f.site.ID, store.Page{}))
		return nil
	})
	f.refused(t, "data that is no JSON", holdfast.CodeInvalid, func(ctx context.Context, tx store.Tx) error {
		return tx.InsertEvent(ctx, &holdfast.Event{Account: f.account, Data: json.RawMessage(`{`)})
	})
	var s holdfast.Submission
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		s = holdfast.Submission{Account: f.account, Dialect: "native", IdempotencyKey: "k", Time: at(1)}
		return tx.InsertSubmission(ctx, &s)
	})
	f.refused(t, "to forget the key of another account's", holdfast.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.ForgetKey(ctx, f.account+1, s.ID)
	})
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		if err := tx.ForgetKey(ctx, f.account, s.ID); err != nil {
			return err
		}
		next := s
		next.ID = 0
		return tx.InsertSubmission(ctx, &next)
	})
	second := f.addJob(t, f.site, "second")
	a := f.add(t, f.job, func(e *holdfast.Execution) { e.Submission = s.ID })
	b := f.add(t, second, func(e *holdfast.Execution) { e.Submission = s.ID })
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "executions of a submission", []holdfast.Execution{a, b})(r.ExecutionsOfSubmission(ctx, s.ID))
		same(t, "executions of no submission", []holdfast.Execution(nil))(r.ExecutionsOfSubmission(ctx, s.ID+1))
		return nil
	})
}
