package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast"
)

const (
	hostColumns  = "id, account, " + hostChanging
	hostChanging = "name, address, created"
)

func hostFields(h *holdfast.Host) []any {
	return []any{idOf(&h.ID), &h.Account, &h.Name, &h.Address, micros{&h.Created}}
}

// Host returns one host.
func (r reader) Host(ctx context.Context, a holdfast.AccountID, id holdfast.HostID) (holdfast.Host, error) {
	return one(ctx, r.s, named("host", id), hostFields, "SELECT "+hostColumns+" FROM hosts WHERE id = ? AND "+mine, id, a, a)
}

// HostByName returns one host.
func (r reader) HostByName(ctx context.Context, a holdfast.AccountID, name string) (holdfast.Host, error) {
	var w where
	w.add("name = ?", name)
	w.account(a)
	return one(ctx, r.s, quoted("host", name), hostFields, "SELECT "+hostColumns+" FROM hosts"+w.String()+" ORDER BY id LIMIT 1", w.args...)
}

// Hosts lists the account's hosts, by id.
func (r reader) Hosts(ctx context.Context, a holdfast.AccountID) ([]holdfast.Host, error) {
	return remembered(ctx, r, a, func(d *directory) map[holdfast.AccountID][]holdfast.Host { return d.hosts }, func(ctx context.Context) ([]holdfast.Host, error) {
		return many(ctx, r.s, hostFields, "SELECT "+hostColumns+" FROM hosts WHERE "+mine+" ORDER BY id", a, a)
	})
}

// InsertHost makes a host.
func (t tx) InsertHost(ctx context.Context, h *holdfast.Host) error {
	n, err := t.s.insert(ctx, "INSERT INTO hosts ("+hostColumns+") VALUES (?,?,?,?,?)", hostFields(h)...)
	if err != nil {
		return taken(err, "host %q", h.Name)
	}
	h.ID = holdfast.HostID(n)
	return nil
}

// UpdateHost writes everything but id and account.
func (t tx) UpdateHost(ctx context.Context, h holdfast.Host) error {
	args := append(hostFields(&h)[2:], h.ID, h.Account)
	n, err := t.s.exec(ctx, "UPDATE hosts SET ("+hostChanging+") = (?,?,?) WHERE id = ? AND account = ?", args...)
	return changed(n, taken(err, "host %q", h.Name), "host %d", h.ID)
}

// DeleteHost removes a host on which no site stands.
func (t tx) DeleteHost(ctx context.Context, a holdfast.AccountID, id holdfast.HostID) error {
	sites, err := t.s.number(ctx, "SELECT count(*) FROM sites WHERE host = ? AND "+mine, id, a, a)
	if err != nil {
		return err
	}
	if sites > 0 {
		return holdfast.Errorf(holdfast.CodeConflict, "host %d still has %s", id, plural(sites, "site")).WithHint("delete its sites first")
	}
	n, err := t.s.exec(ctx, "DELETE FROM hosts WHERE id = ? AND "+mine, id, a, a)
	return changed(n, err, "host %d", id)
}
