package holdfast_test

import (
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

func TestRoleIncludes(t *testing.T) {
	const reader, operator, admin, unknown = holdfast.RoleReader, holdfast.RoleOperator, holdfast.RoleAdmin, holdfast.Role("root")
	for _, c := range []struct {
		role, other holdfast.Role
		want        bool
	}{
		{reader, reader, true},
		{reader, operator, false},
		{reader, admin, false},
		{operator, reader, true},
		{operator, operator, true},
		{operator, admin, false},
		{admin, reader, true},
		{admin, operator, true},
		{admin, admin, true},
		{unknown, reader, false},
		{unknown, unknown, false},
		{"", reader, false},
		{"", "", false},
		{admin, unknown, false},
		{admin, "", false},
		{"Admin", reader, false},
	} {
		if got := c.role.Includes(c.other); got != c.want {
			t.Errorf("%q includes %q: got %t, want %t", c.role, c.other, got, c.want)
		}
	}
}

func TestCredentialValid(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name             string
		expires, revoked time.Time
		want             bool
	}{
		{"without an end", time.Time{}, time.Time{}, true},
		{"before its end", now.Add(time.Nanosecond), time.Time{}, true},
		{"at its end", now, time.Time{}, false},
		{"after its end", now.Add(-time.Hour), time.Time{}, false},
		{"revoked", time.Time{}, now.Add(-time.Hour), false},
		{"revoked by a clock that is ahead", time.Time{}, now.Add(time.Hour), false},
		{"revoked before its end", now.Add(time.Hour), now, false},
	} {
		if got := (holdfast.Credential{Expires: c.expires, Revoked: c.revoked}).Valid(now); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

func TestCredentialCovers(t *testing.T) {
	for _, c := range []struct {
		name  string
		sites []holdfast.SiteID
		want  bool
	}{
		{"every site", nil, true},
		{"this site", []holdfast.SiteID{1001}, true},
		{"this site and others", []holdfast.SiteID{1002, 1001}, true},
		{"another site", []holdfast.SiteID{1002}, false},
	} {
		if got := (holdfast.Credential{Sites: c.sites}).Covers(1001); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

func TestWorkerStandsOn(t *testing.T) {
	w := holdfast.Worker{Hosts: []holdfast.HostID{1001, 1003}}
	for host, want := range map[holdfast.HostID]bool{1001: true, 1002: false, 1003: true, 0: false} {
		if got := w.StandsOn(host); got != want {
			t.Errorf("host %d: got %t, want %t", host, got, want)
		}
	}
	if (holdfast.Worker{}).StandsOn(1001) {
		t.Error("a worker without hosts stands on one")
	}
}

func TestCopyReadable(t *testing.T) {
	for state, want := range map[holdfast.CopyState]bool{
		holdfast.CopyWriting: false, holdfast.CopyComplete: true, holdfast.CopyVerified: true, holdfast.CopyDamaged: true,
		holdfast.CopyUnconfirmed: true, holdfast.CopyDeleted: false, holdfast.CopyOrphaned: false, "": false,
	} {
		if got := (holdfast.Copy{State: state}).Readable(); got != want {
			t.Errorf("%q: got %t, want %t", state, got, want)
		}
	}
}

func TestActorNamesItsToken(t *testing.T) {
	a := holdfast.Actor{Principal: holdfast.Principal{Name: "backup-service"}}
	if got := a.String(); got != "backup-service" {
		t.Errorf("got %q, want the principal", got)
	}
	a.Credential.Name = "nightly"
	if got := a.String(); got != "token nightly" {
		t.Errorf("got %q, want the token", got)
	}
}

func TestWantedIsWrittenAsItsWord(t *testing.T) {
	words := map[holdfast.Wanted]string{
		holdfast.WantRun: "run", holdfast.WantSuspend: "suspend", holdfast.WantStop: "stop",
		holdfast.WantAbort: "abort", holdfast.WantKill: "kill",
	}
	for _, w := range holdfast.Wishes() {
		text, err := w.MarshalText()
		if err != nil || string(text) != words[w] {
			t.Errorf("%d: got %q, %v, want %q", w, text, err, words[w])
		}
		var back holdfast.Wanted
		if err := back.UnmarshalText(text); err != nil || back != w {
			t.Errorf("%q: got %s, %v", text, back, err)
		}
	}
	w := holdfast.WantStop
	wantInvalid(t, "an unknown word", w.UnmarshalText([]byte("pause")), "wish")
	if w != holdfast.WantStop {
		t.Errorf("an unknown word changes the wish to %s", w)
	}
	for _, w := range []holdfast.Wanted{-1, 5} {
		if got := w.String(); got != "unknown" {
			t.Errorf("%d: got %q, want unknown", int(w), got)
		}
	}
}
