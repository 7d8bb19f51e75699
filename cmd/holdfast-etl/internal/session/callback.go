package session

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/duckdb/duckdb-go/v2"
	"github.com/duckdb/duckdb-go/v2/mapping"
)

// tokens are what functions of ours find by numbers that SQL of a definition cannot
// guess: the engine calls us back without a session.
type tokens[T any] struct {
	mu   sync.Mutex // guards the field below
	open map[int64]*T
}

// add makes v known; remove takes it away.
func (t *tokens[T]) add(v *T) (token int64) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	token = int64(binary.BigEndian.Uint64(b[:]) >> 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open == nil {
		t.open = map[int64]*T{}
	}
	t.open[token] = v
	return token
}

func (t *tokens[T]) remove(token int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, token)
}

// find returns what is known by a token; nil: nothing.
func (t *tokens[T]) find(token int64) *T {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.open[token]
}

// register makes functions of ours known to the engine.
func register(ctx context.Context, db *sql.DB, functions ...func(mapping.Connection) mapping.State) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	err = conn.Raw(func(driverConn any) error {
		c, err := handleOf(driverConn)
		if err != nil {
			return err
		}
		for _, f := range functions {
			if f(c) == mapping.StateError {
				return errors.New("the engine does not take a function of ours")
			}
		}
		return nil
	})
	return errors.Join(err, conn.Close())
}

// handleOf returns the engine's own handle of a connection, which the driver keeps to
// itself: its functions in Go are called row by row, with each value boxed, and that
// takes ten times as long as the rest.
func handleOf(driverConn any) (mapping.Connection, error) {
	c, ok := driverConn.(*duckdb.Conn)
	if !ok {
		return mapping.Connection{}, fmt.Errorf("a connection to the engine is a %T", driverConn)
	}
	f := reflect.ValueOf(c).Elem().FieldByName("conn")
	if !f.IsValid() || f.Type() != reflect.TypeFor[mapping.Connection]() {
		return mapping.Connection{}, errors.New("the driver of the engine keeps its connection elsewhere")
	}
	return *(*mapping.Connection)(f.Addr().UnsafePointer()), nil
}

// guarded keeps a panic from the engine's threads, on which it would end the process.
func guarded(run func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return run()
}
