package worker

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Defaults of Config.
const (
	DefaultPoll  = 5 * time.Second // an idle worker asks this often, with jitter
	DefaultAlone = time.Hour       // work goes on this long without a word from the control plane

	requestLimit = 5 * time.Second  // for one answer
	answerLimit  = 2 * time.Second  // for the answers that a drain waits for
	lastWords    = 10 * time.Second // for cancelled work to end, once the drain is over
	retryFirst   = 200 * time.Millisecond
	retryMost    = 5 * time.Second
	internalMost = 20 // answers that the control plane has failed, before its failure is ours
	askMost      = time.Second
)

// Opener opens secrets that were sealed to the worker's key; *seal.Identity is
// one.
type Opener interface {
	Open(sealed []byte) (holdfast.Secret, error)
}

// Config is what a Worker is made of.
type Config struct {
	ID      holdfast.WorkerID
	Name    string
	Pools   []string // at first; the answer to an ask may name others
	Slots   int      // executions at once, but for those of services
	Version string
	// Conn is the connection to the control plane, with the worker's own inbox
	// prefix: from dispatch.Server.ConnectWorker inside serve, from Dial
	// elsewhere. It reconnects for ever. Whoever made it closes it, after Run.
	Conn   *nats.Conn
	Opener Opener
	// Engines do the work of backups and restores, by name.
	Engines map[holdfast.Engine]engine.Engine
	// Pipelines do the work of ETLs, by name.
	Pipelines map[holdfast.Engine]engine.Pipeline
	// ServiceSlots is how many service ETLs run at once, beside Slots; 0: none.
	ServiceSlots int
	// OpenBucket opens where a repository lies: location is its URL, and access is for
	// the object store that it names.
	OpenBucket func(ctx context.Context, location string, access holdfast.ObjectAccess) (objstore.Bucket, error)
	// OpenRepository opens the repository in a bucket; nil: package repository
	// does.
	OpenRepository func(ctx context.Context, b objstore.Bucket, password holdfast.Secret) (Repository, error)
	// RestoreRoots are the directories below which a restore may write; empty:
	// none may.
	RestoreRoots []string
	// ETLRoots are the directories below which an ETL may read and write files;
	// empty: none may.
	ETLRoots []string
	Hostname string // stands in snapshots
	// MaintenanceKey is who the worker is at object stores when it deletes; empty: who
	// the order says.
	MaintenanceKey    string
	MaintenanceSecret holdfast.Secret
	// Drain is how long running work may go on when Run's context has ended;
	// then it is handed back. Zero: it is handed back at once.
	Drain time.Duration
	Log   *slog.Logger

	// What follows has the defaults above, or the domain's values, when zero;
	// tests shorten them.

	Poll  time.Duration
	Beat  time.Duration
	Alone time.Duration

	// Step is called at each durable step with its name, so that a test can end
	// or freeze the process there. Nil in production.
	Step func(name string)
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Poll, DefaultPoll)
	set(&c.Beat, holdfast.BeatInterval)
	set(&c.Alone, DefaultAlone)
	if c.Slots < 1 {
		c.Slots = 1
	}
	if c.Step == nil {
		c.Step = func(string) {}
	}
	if c.RestoreRoots == nil {
		c.RestoreRoots = []string{} // nil would allow every directory
	}
	if c.ETLRoots == nil {
		c.ETLRoots = []string{}
	}
	return c
}
