package service

import (
	"context"
	"fmt"
	"testing"
	"time"
)

func TestOtherNamesDoNotEndALock(t *testing.T) {
	t.Parallel()
	l := newLockouts(maxFailures)
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	fail := func(name string) error {
		a, err := l.begin(t.Context(), newLockKey("account 1001", name), clock)
		if err == nil {
			a.failed(now)
			a.end()
		}
		return err
	}
	for range maxFailures {
		if err := fail("ada"); err != nil {
			t.Fatal(err)
		}
	}
	for i := range maxLockNames + 100 {
		now = now.Add(time.Millisecond)
		if err := fail(fmt.Sprint("name", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := fail("ada"); err == nil {
		t.Errorf("ada is not locked any more after the failures of %d others", maxLockNames+100)
	}
	if len(l.names) != maxLockNames {
		t.Errorf("got %d names, want %d", len(l.names), maxLockNames)
	}
}

func TestLockedNamesAreBounded(t *testing.T) {
	t.Parallel()
	l := newLockouts(maxFailures)
	now := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	fail := func(name string) (locked bool) {
		a, err := l.begin(t.Context(), newLockKey("account 1001", name), clock)
		if err != nil {
			return true
		}
		defer a.end()
		return a.failed(now)
	}
	for range maxFailures {
		fail("ada")
	}
	held, err := l.begin(t.Context(), newLockKey("account 1001", "held"), clock)
	if err != nil {
		t.Fatal(err)
	}
	for i := range maxLockNames - 2 {
		now = now.Add(time.Millisecond)
		fail(fmt.Sprint("name", i))
	}
	if n := len(l.names); n != maxLockNames || !fail("ada") {
		t.Errorf("got %d names, ada not among them; want %d", n, maxLockNames)
	}
	// Ada was used last, the first of the others the longest ago.
	now = now.Add(time.Millisecond)
	fail("one more")
	if n := len(l.names); n != maxLockNames || l.names[newLockKey("account 1001", "name0")] != nil || !fail("ada") {
		t.Errorf("got %d names, want %d without the one that was used the longest ago", n, maxLockNames)
	}
	if l.names[newLockKey("account 1001", "held")] == nil {
		t.Error("a name was dropped whose login is under way")
	}
	held.end()
	if l.names[newLockKey("account 1001", "held")] != nil {
		t.Error("a name without failures is kept")
	}
}

func TestALoginInLineGoesWithItsCaller(t *testing.T) {
	t.Parallel()
	l := newLockouts(maxFailures)
	key := newLockKey("account 1001", "ada")
	first, err := l.begin(t.Context(), key, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.begin(ctx, key, time.Now); err == nil {
		t.Error("got a second login of the name while the first is under way")
	}
	first.end()
	if len(l.names) != 0 {
		t.Errorf("got %d names, want none", len(l.names))
	}
}
