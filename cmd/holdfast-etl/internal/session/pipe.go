package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// use runs what reads a query, with its inputs opened, and says in the response which
// feeds it has read: what is not read of them now, nobody reads.
func (s *Session) use(ctx context.Context, q query, r *duck.Response, run func(query) error) (err error) {
	o := opened{names: map[string]string{}}
	defer func() {
		err = naming(err, o.names)
		// What is wrong with rows says more than what the engine made of it.
		if fault := s.release(&o); fault != nil && err != nil {
			err = fault
		}
	}()
	q.scans = map[*relation]string{}
	for _, rel := range q.chain {
		for i, path := range rel.links {
			o.names[path] = rel.input.Names[i]
		}
		if !rel.piped() {
			continue
		}
		if rel.input.Format == duck.FormatBinary {
			q.scans[rel], err = s.openFeed(rel, &o, r)
		} else {
			q.scans[rel], err = s.openPipe(rel, &o, r)
		}
		if err != nil {
			return err
		}
	}
	defer context.AfterFunc(ctx, o.closeFeeds)()
	if len(q.scans) > 0 {
		if q.keep, err = s.readsTwice(ctx, q); err != nil {
			return err
		}
	}
	return run(q)
}

// opened are the pipes that a statement reads.
type opened struct {
	slots []int
	feeds []func() error    // close them, and say what was wrong with their rows
	names map[string]string // of files, by the paths that the engine knows

	mu    sync.Mutex // guards fault
	fault error      // of a feed's rows
}

// release closes the pipes, and returns what was wrong with the rows of one.
func (s *Session) release(o *opened) error {
	s.mu.Lock()
	s.slots.free(o.slots)
	s.mu.Unlock()
	o.closeFeeds()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fault
}

// closeFeeds ends who reads them.
func (o *opened) closeFeeds() {
	for _, done := range o.feeds {
		if err := done(); err != nil {
			o.note(err)
		}
	}
}

// note keeps the first fault.
func (o *opened) note(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fault == nil {
		o.fault = err
	}
}

// spend notes that a feed is read now: nobody can read it again. The caller holds the
// session's lock.
func (r *relation) spend(answer *duck.Response) error {
	if r.spent {
		return holdfast.Errorf(holdfast.CodeInvalid, "the relation %s is streamed, and was read before", r.name).
			WithHint("keep it, or the step that is read twice")
	}
	r.spent = true
	if !slices.Contains(answer.Read, r.name) {
		answer.Read = append(answer.Read, r.name)
	}
	return nil
}

// openFeed opens a feed of binary rows for one statement, and returns what reads it.
func (s *Session) openFeed(rel *relation, o *opened, r *duck.Response) (scan string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := rel.spend(r); err != nil {
		return "", err
	}
	f, err := newFeed(rel, s.threads, s.line)
	if err != nil {
		return "", err
	}
	token, done := f.open()
	o.feeds = append(o.feeds, done)
	return f.scan(token), nil
}

// openPipe opens a feed of CSV for one statement, and returns what reads its path: the
// engine resolves the path of a file, and refuses it, but a pipe has none.
func (s *Session) openPipe(rel *relation, o *opened, r *duck.Response) (scan string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := rel.spend(r); err != nil {
		return "", err
	}
	slot, err := s.slots.take(rel.files[0])
	if err != nil {
		return "", err
	}
	rel.files[0] = nil
	o.slots = append(o.slots, slot)
	return scanCSV(rel.input, slotPath(slot), s.line), nil
}

// naming has a message of the engine call a file as people do.
func naming(err error, names map[string]string) error {
	e, ok := errors.AsType[*duckdb.Error](err)
	if !ok {
		return err
	}
	for path, name := range names {
		if strings.Contains(e.Msg, path) {
			e.Msg = name + ": " + strings.ReplaceAll(e.Msg, path, name)
			break
		}
	}
	return err
}

// readsTwice returns whether the engine's plan for a query reads a pipe more often
// than once: two readers of one pipe would share its rows. Not only does SQL name a
// relation twice: the engine rewrites some queries so that they do, and repeats parts
// of a recursive one.
func (s *Session) readsTwice(ctx context.Context, q query) (bool, error) {
	scans, recursive, err := s.plan(ctx, q)
	if err != nil {
		return false, err
	}
	if !recursive && scans <= len(q.scans) {
		return false, nil
	}
	q.keep = true
	if scans, _, err = s.plan(ctx, q); err != nil {
		return false, err
	}
	if scans > len(q.scans) {
		return false, holdfast.Errorf(holdfast.CodeInvalid, "the SQL reads a streamed relation more often than once").WithHint("keep the relation")
	}
	return true, nil
}

// plan counts the operators of a query's plan that read pipes, and finds those that
// repeat others. Where not all rows are wanted, the engine may read again what it would
// else keep, so it is asked for both.
func (s *Session) plan(ctx context.Context, q query) (scans int, recursive bool, err error) {
	for _, statement := range []string{q.text("*"), q.text("*") + " LIMIT 1"} {
		n, r, err := s.planOf(ctx, statement, q.args)
		if err != nil {
			return 0, false, err
		}
		scans, recursive = max(scans, n), recursive || r
	}
	return scans, recursive, nil
}

// node is an operator of a plan.
type node struct {
	Name     string `json:"name"`
	Children []node `json:"children"`
}

// planOf is plan for a statement.
func (s *Session) planOf(ctx context.Context, statement string, args []any) (scans int, recursive bool, err error) {
	var key, text string
	if err := s.db.QueryRowContext(ctx, "EXPLAIN (FORMAT JSON) "+statement, args...).Scan(&key, &text); err != nil {
		return 0, false, err
	}
	var plan []node
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return 0, false, fmt.Errorf("read the engine's plan: %w", err)
	}
	var walk func(all []node)
	walk = func(all []node) {
		for _, n := range all {
			name := strings.TrimSpace(n.Name)
			if strings.HasPrefix(name, "READ_CSV") || strings.HasPrefix(name, feedOperator) {
				scans++
			}
			recursive = recursive || strings.Contains(name, "REC") // REC_CTE, RECURSIVE_CTE and the like
			walk(n.Children)
		}
	}
	walk(plan)
	return scans, recursive, nil
}
