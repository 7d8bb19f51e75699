package dispatch

import (
	"log/slog"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Defaults of Config.
const (
	DefaultRetryBase  = 5 * time.Second
	DefaultRetryMax   = 10 * time.Minute
	DefaultOrphanLife = 24 * time.Hour

	tick        = 250 * time.Millisecond // between two looks at the watches
	frozenAfter = 2 * time.Second        // a later tick means that this process, or the machine, stood still
	flushEvery  = time.Second            // grouped write of beats and progress
	dueEvery    = time.Second
	reloadEvery = 2 * time.Second // running executions are read again: a push may have been lost
	seenEvery   = 30 * time.Second
	storeLimit  = 15 * time.Second // for one transaction, waiting for a locked database included
	inFlight    = 128              // messages of a kind that are being worked on at once
)

// Opener opens secrets that are stored under the master key.
type Opener interface {
	Open(sealed []byte) (holdfast.Secret, error)
}

// Config is what a Dispatcher is made of.
type Config struct {
	Store  store.Store
	Server *Server
	Opener Opener
	Logs   *Logs
	Log    *slog.Logger
	Now    func() time.Time // wall clock, for what people read and for what is due; nil: time.Now

	// What follows has the domain's values when zero; tests shorten them.

	SilenceLimit time.Duration // without a new beat, before an execution moves on
	KillLimit    time.Duration // without a confirmation, before a kill or an abort is decided
	RetryBase    time.Duration // back-off after the first transient failure; doubles with each
	RetryMax     time.Duration // longest back-off
	// OrphanLife is for how long an orphan is looked for again when its snapshot
	// was not there: its worker may be frozen right in front of the write.
	OrphanLife time.Duration

	// Step is called at each durable step with its name, so that a test can end
	// the process there. Nil in production.
	Step func(name string)
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.SilenceLimit, holdfast.SilenceLimit)
	set(&c.KillLimit, holdfast.KillLimit)
	set(&c.RetryBase, DefaultRetryBase)
	set(&c.RetryMax, DefaultRetryMax)
	set(&c.OrphanLife, DefaultOrphanLife)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Step == nil {
		c.Step = func(string) {}
	}
	return c
}
