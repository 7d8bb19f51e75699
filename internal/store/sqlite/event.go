package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const (
	submissionColumns = "id, account, principal, dialect, idempotency_key, request, time"
	eventColumns      = "id, account, time, actor, dialect, subject, site, kind, data"
)

func submissionFields(s *holdfast.Submission) []any {
	return []any{idOf(&s.ID), &s.Account, idOf(&s.Principal), &s.Dialect, &s.IdempotencyKey, raw{&s.Request}, micros{&s.Time}}
}

func eventFields(e *holdfast.Event) []any {
	return []any{idOf(&e.ID), idOf(&e.Account), micros{&e.Time}, &e.Actor, &e.Dialect, &e.Subject, idOf(&e.Site), &e.Kind, raw{&e.Data}}
}

// Submission returns one submission.
func (r reader) Submission(ctx context.Context, a holdfast.AccountID, id holdfast.SubmissionID) (holdfast.Submission, error) {
	return one(ctx, r.s, named("submission", id), submissionFields, "SELECT "+submissionColumns+" FROM submissions WHERE id = ? AND "+mine, id, a, a)
}

// SubmissionByKey returns the submission with the caller's key.
func (r reader) SubmissionByKey(ctx context.Context, a holdfast.AccountID, idempotencyKey string) (holdfast.Submission, error) {
	var w where
	w.add("idempotency_key = ? AND idempotency_key <> ''", idempotencyKey)
	w.account(a)
	return one(ctx, r.s, quoted("submission with key", idempotencyKey), submissionFields,
		"SELECT "+submissionColumns+" FROM submissions"+w.String()+" ORDER BY id LIMIT 1", w.args...)
}

// Events lists the oldest first, after the given id. A zero account lists those
// of every account and of the installation.
func (r reader) Events(ctx context.Context, a holdfast.AccountID, after holdfast.EventID, limit int) ([]holdfast.Event, error) {
	n, _ := limits(store.Page{Limit: limit})
	if a == 0 {
		return many(ctx, r.s, eventFields, "SELECT "+eventColumns+" FROM events WHERE id > ? ORDER BY id"+limited, after, n)
	}
	return many(ctx, r.s, eventFields, "SELECT "+eventColumns+" FROM events WHERE account = ? AND id > ? ORDER BY id"+limited, a, after, n)
}

// SiteEvents lists the events of a site, the newest first.
func (r reader) SiteEvents(ctx context.Context, a holdfast.AccountID, site holdfast.SiteID, p store.Page) ([]holdfast.Event, error) {
	var w where
	w.add("site = ?", site)
	w.account(a)
	var sel selection
	var err error
	if sel.total, err = r.s.number(ctx, "SELECT sum(n) FROM event_totals"+w.String(), w.args...); err != nil {
		return nil, err
	}
	sel.addFrom("events INDEXED BY events_site"+w.String(), w.args)
	offset, limit := bounds(p, sel.total)
	ids, err := r.page(ctx, sel, offset, limit)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	list, err := selected(ids)
	if err != nil {
		return nil, err
	}
	return many(ctx, r.s, eventFields, "SELECT "+eventColumns+" FROM events WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id DESC", list)
}

// InsertSubmission makes a submission.
func (t tx) InsertSubmission(ctx context.Context, s *holdfast.Submission) error {
	n, err := t.s.insert(ctx, "INSERT INTO submissions ("+submissionColumns+") VALUES (?,?,?,?,?,?,?)", submissionFields(s)...)
	if err != nil {
		return taken(err, "submission with key %q", s.IdempotencyKey)
	}
	s.ID = holdfast.SubmissionID(n)
	return nil
}

// ForgetKey takes the key away from a submission.
func (t tx) ForgetKey(ctx context.Context, a holdfast.AccountID, id holdfast.SubmissionID) error {
	n, err := t.s.exec(ctx, "UPDATE submissions SET idempotency_key = '' WHERE id = ? AND account = ?", id, a)
	return changed(n, err, "submission %d", id)
}

// InsertEvent adds to the history.
func (t tx) InsertEvent(ctx context.Context, e *holdfast.Event) error {
	n, err := t.s.insert(ctx, "INSERT INTO events ("+eventColumns+") VALUES (?,?,?,?,?,?,?,?,?)", eventFields(e)...)
	if err != nil {
		return taken(err, "event %d", e.ID)
	}
	e.ID = holdfast.EventID(n)
	return nil
}
