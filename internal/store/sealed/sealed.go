// Package sealed keeps secret properties of ETLs out of the metadata database: it
// seals them before another store writes them, and opens them when it has read
// them.
package sealed

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Sealer seals and opens secrets with the master key.
type Sealer interface {
	Seal(s holdfast.Secret) ([]byte, error)
	Open(sealed []byte) (holdfast.Secret, error)
}

// Store is a store over another one. What cannot be opened is logged, and stays in
// the Sealed of its run configuration or execution, which then has no start.
type Store struct {
	store.Store
	box box
}

// box does the sealing.
type box struct {
	sealer Sealer
	secret func(property string) bool
	log    *slog.Logger
}

// New returns a store over inner, in which the values of properties that are secret
// by their name are sealed.
func New(inner store.Store, s Sealer, secret func(property string) bool, log *slog.Logger) *Store {
	return &Store{inner, box{s, secret, log}}
}

// View runs fn on one consistent snapshot.
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	return s.Store.View(ctx, func(r store.Reader) error { return fn(reader{opening{r, s.box}, rest{r}}) })
}

// Update runs fn in one transaction.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, func(t store.Tx) error { return fn(tx{opening{t, s.box}, writes{t}}) })
}

// seal returns properties without their secrets, which are sealed. Those that could
// not be opened stay as they are.
func (b box) seal(properties map[string]string, before map[string][]byte) (shown map[string]string, sealed map[string][]byte, err error) {
	for name, value := range properties {
		if !b.secret(name) {
			continue
		}
		kept, ok := before[name]
		if value != "" {
			if kept, err = b.sealer.Seal(holdfast.NewSecret(value)); err != nil {
				return nil, nil, fmt.Errorf("seal property %s: %w", name, err)
			}
		} else if !ok {
			continue // an empty value says nothing
		}
		if sealed == nil {
			sealed = map[string][]byte{}
		}
		sealed[name] = kept
	}
	if sealed == nil {
		return properties, nil, nil
	}
	shown = make(map[string]string, len(properties))
	for name, value := range properties {
		if _, ok := sealed[name]; ok {
			value = "" // its name is listed
		}
		shown[name] = value
	}
	return shown, sealed, nil
}

// open puts secrets back among properties, which are the caller's, and returns
// those that cannot be opened.
func (b box) open(ctx context.Context, properties map[string]string, sealed map[string][]byte) (left map[string][]byte) {
	for name, value := range sealed {
		s, err := b.sealer.Open(value)
		if err == nil {
			properties[name] = s.Reveal()
			continue
		}
		b.log.WarnContext(ctx, "a secret property cannot be opened", "property", name, "error", err)
		if left == nil {
			left = map[string][]byte{}
		}
		left[name] = value
	}
	return left
}

func (b box) sealSpec(s *holdfast.ETLSpec) (_ *holdfast.ETLSpec, err error) {
	if s == nil {
		return nil, nil //nolint:nilnil // a job of another type
	}
	out := *s
	out.Configurations = make([]holdfast.RunConfiguration, len(s.Configurations))
	for i, c := range s.Configurations {
		if c.Properties, c.Sealed, err = b.seal(c.Properties, c.Sealed); err != nil {
			return nil, err
		}
		out.Configurations[i] = c
	}
	return &out, nil
}

func (b box) sealRun(r *holdfast.ETLRun) (_ *holdfast.ETLRun, err error) {
	if r == nil {
		return nil, nil //nolint:nilnil // an execution of another type
	}
	out := *r
	if out.Properties, out.Sealed, err = b.seal(r.Properties, r.Sealed); err != nil {
		return nil, err
	}
	return &out, nil
}

func (b box) openJob(ctx context.Context, j *holdfast.Job) {
	if j.ETL == nil {
		return
	}
	b.openSpec(ctx, j.ETL)
}

func (b box) openSpec(ctx context.Context, s *holdfast.ETLSpec) {
	for i := range s.Configurations {
		c := &s.Configurations[i]
		c.Sealed = b.open(ctx, c.Properties, c.Sealed)
	}
}

func (b box) openExecution(ctx context.Context, e *holdfast.Execution) {
	if e != nil && e.ETL != nil {
		e.ETL.Sealed = b.open(ctx, e.ETL.Properties, e.ETL.Sealed)
	}
}
