// Package etl does the work of ETL jobs: it reads rows from PostgreSQL servers
// and files, has them changed on their way, and loads them.
//
// Terms. A flow is one load of a definition with all that it reads. A unit is what
// one transaction of the target commits: rows, counters and the number of the
// unit together, under a lock on the flow's row in the target's schema
// holdfast_etl. That row names the execution and the fence that may commit; an
// execution claims the rows of its flows before it reads anything.
package etl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// Limits of what the engine waits for. Copies have none but their contexts'.
const (
	lockLimit = 30 * time.Second // for the rows of a claim, and for a table's lock at a swap
	// leaveLimit is for leaving nothing behind, after everything else, of which the
	// engine's process has twice as long. A session whose context has ended is given
	// 5 s more, and [rows.Transfer] another 2 s: a kill is over within 15 s.
	leaveLimit   = 5 * time.Second
	releaseLimit = 20 * time.Second
)

// Config is what the engine needs of its machine.
type Config struct {
	// DuckBinary is the program of the transform process, holdfast-etl. Empty: flows
	// that need one fail with a hint.
	DuckBinary string
	// TempDir holds what an execution fetches and spills. Empty: the system's.
	TempDir string
	// Memory is the most that the transform process of one execution gets, whatever its
	// definition says. 0: a quarter of the machine's, or of what our control group may use.
	Memory holdfast.Size
	// Backoff is how long a service waits after a failed round; the next in a row wait
	// twice as long each. 0: a second.
	Backoff time.Duration
	// Step is called at points at which a test may end the process, with their
	// names. Nil in production.
	Step func(name string)
}

// Pipeline implements [engine.Pipeline].
type Pipeline struct {
	duckBinary string
	tempDir    string
	memory     holdfast.Size
	backoff    time.Duration
	step       func(name string)
}

var _ engine.Pipeline = (*Pipeline)(nil)

// New returns an engine.
func New(c Config) *Pipeline {
	if c.Step == nil {
		c.Step = func(string) {}
	}
	if c.Memory == 0 {
		c.Memory = defaultMemory(os.DirFS("/"))
	}
	return &Pipeline{duckBinary: c.DuckBinary, tempDir: c.TempDir, memory: c.Memory, backoff: cmp.Or(c.Backoff, firstBackoff), step: c.Step}
}

// Run does one execution to its end.
func (p *Pipeline) Run(ctx context.Context, req engine.ETL) (engine.Result, error) {
	e, err := p.prepare(req)
	if err != nil {
		return engine.Result{}, err
	}
	if e.plan.Definition.Mode == definition.ModeService {
		err = e.serve(ctx)
	} else {
		err = e.batch(ctx)
	}
	var ending sync.WaitGroup
	ending.Go(func() { e.closeEngine(ctx) })
	if err != nil {
		e.tally.takeBack()
		e.leave(ctx)
	}
	ending.Wait()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return e.result(), e.mask.error(err)
}

// Release ends every session of the execution, with the fence or a lower one, on
// every server that its definition names, and closes the execution there.
func (p *Pipeline) Release(ctx context.Context, req engine.ETL) error {
	ctx, cancel := context.WithTimeout(ctx, releaseLimit)
	defer cancel()
	e, err := p.prepare(req)
	if err != nil {
		return err
	}
	err = e.endSessions(ctx)
	for _, t := range e.targets() {
		err = errors.Join(err, e.closeFence(ctx, t))
	}
	for _, f := range e.flows {
		if f.plan.Load.Output != nil {
			err = errors.Join(err, f.closeOutput(ctx))
		}
	}
	return err
}

// execution is one execution at work. It belongs to one goroutine.
type execution struct {
	p     *Pipeline
	req   engine.ETL
	plan  *definition.Plan
	owner pgsession.Owner
	log   *slog.Logger // of req, masked
	mask  *mask
	tally *tally // is the report of req

	flows   []*flow
	preview bool         // of the first rows only
	claimed bool         // the targets, by a service
	child   *duck.Client // nil: not started
	// childUses is how many units the process has served.
	childUses int

	rounds   int64
	bytes    atomic.Int64 // that came from sources
	warnings []string
}

// prepare reads the definition and gives its parameters their values. It does no
// I/O.
func (p *Pipeline) prepare(req engine.ETL) (*execution, error) {
	e := &execution{p: p, req: req, owner: pgsession.Owner{Installation: req.Installation, Execution: req.Execution, Identity: req.Identity, Job: req.Job}, mask: &mask{}}
	e.log = e.mask.logger(req.Log)
	e.tally = &tally{Report: req.Report}
	e.req.Report = e.tally
	return e, e.replan(req.Properties)
}

// replan gives the parameters the values of other properties.
func (e *execution) replan(properties map[string]string) error {
	plan, err := planOf(e.req.Definition, properties)
	e.hideSecrets(properties, plan)
	if err != nil {
		return e.mask.error(err)
	}
	e.take(plan)
	return nil
}

// take makes the flows of a plan. Those that were at work before keep what they
// have counted.
func (e *execution) take(plan *definition.Plan) {
	before := e.flows
	e.plan, e.flows = plan, nil
	for i := range plan.Flows {
		f := newFlow(e, &plan.Flows[i])
		if i < len(before) {
			f.result = before[i].result
		}
		e.flows = append(e.flows, f)
	}
}

// result sums up what has been committed.
func (e *execution) result() engine.Result {
	res := engine.Result{Warnings: e.warnings, Rounds: e.rounds, Bytes: e.bytes.Load(), Ignored: e.plan.Ignored}
	for _, f := range e.flows {
		res.Flows = append(res.Flows, e.mask.flow(f.result))
		res.Files += f.result.Read
	}
	return res
}

// warn notes something that makes the outcome WARNING.
func (e *execution) warn(ctx context.Context, msg string, attrs ...any) {
	const maxWarnings = 100 // a service lives long, and a result is one message
	if len(e.warnings) < maxWarnings {
		var text strings.Builder
		text.WriteString(msg)
		for i := 0; i+1 < len(attrs); i += 2 {
			fmt.Fprintf(&text, "; %v: %v", attrs[i], attrs[i+1])
		}
		e.warnings = append(e.warnings, e.mask.text(text.String()))
	}
	e.log.With(attrs...).WarnContext(ctx, "warning", "text", msg)
}

// stopping reports whether the execution is wanted to come to rest.
func (e *execution) stopping() bool {
	select {
	case <-e.req.Stop:
		return true
	default:
		return false
	}
}

// leave makes sure that no session of the execution is left. It is called when
// the context may have ended.
func (e *execution) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveLimit)
	defer cancel()
	if err := e.endSessions(ctx); err != nil && !errors.Is(err, engine.ErrStale) {
		// A server that cannot be reached ends them by itself when it notices; the next
		// fence looks again.
		e.log.InfoContext(ctx, "cannot see whether the execution's sessions have ended", "error", err)
	}
}

// endSessions ends the execution's sessions, up to its fence, on every server at
// once: one that does not answer takes no time of the others.
func (e *execution) endSessions(ctx context.Context) error {
	places := e.places()
	errs := make([]error, len(places))
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() {
			site, err := e.site(p)
			if err == nil {
				err = e.owner.End(ctx, site, e.req.Fence)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// place is a database that a connection names.
type place struct{ site, database string }

// places are the databases that the flows read and write, each once, in order.
func (e *execution) places() []place {
	var all []place
	for _, f := range e.flows {
		for _, in := range f.plan.Inputs {
			all = e.addPlace(all, in.Extract.Connection)
		}
		all = e.addPlace(all, f.plan.Load.Connection)
	}
	return all
}

// targets are the databases that the flows write.
func (e *execution) targets() []place {
	var all []place
	for _, f := range e.flows {
		all = e.addPlace(all, f.plan.Load.Connection)
	}
	return all
}

func (e *execution) addPlace(all []place, connection string) []place {
	c := e.plan.Definition.Connections[connection]
	if c.Site == "" {
		return all
	}
	p := placeOf(c)
	if slices.Contains(all, p) {
		return all
	}
	return append(all, p)
}

func placeOf(c definition.Connection) place { return place{c.Site, c.Database} }

// site returns the site of a place, with the place's database.
func (e *execution) site(p place) (engine.Site, error) {
	s, ok := e.req.Sites[p.site]
	if !ok {
		return s, holdfast.Errorf(holdfast.CodeInvalid, "the definition names the site %q, which this order does not have", p.site).
			WithHint("check that the account has a site with that slug")
	}
	if p.database != "" {
		s.Server.Database = p.database
	}
	return s, nil
}
