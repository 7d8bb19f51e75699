package etl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// Lengths of the values that a mask knows in what others wrote, in bytes. Shorter
// ones stand in any text: to mask them would tell more than it hides.
const (
	minMasked = 4
	minCut    = 8 // of the beginning of a value, where a text was cut
)

// mask keeps the values of secret properties out of what leaves the engine: a
// server's error says the value that it could not read. It is never told to forget,
// as a service may log a value that was changed since.
type mask struct {
	mu     sync.RWMutex // guards the field below
	values []string     // longest first
}

// hide adds a value, also as it stands between quotes in messages.
func (m *mask) hide(value string) {
	all := []string{value, strings.TrimSpace(value), strings.Trim(strconv.Quote(value), `"`)}
	if b, err := json.Marshal(value); err == nil {
		all = append(all, strings.Trim(string(b), `"`))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, v := range all {
		if len(v) >= minMasked && !slices.Contains(m.values, v) {
			m.values = append(m.values, v)
		}
	}
	slices.SortFunc(m.values, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
}

// text returns the text without the values.
func (m *mask) text(s string) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, v := range m.values {
		s = strings.ReplaceAll(s, v, holdfast.MaskedProperty)
		s = maskCut(s, v)
	}
	return s
}

// maskCut replaces the beginnings of a value where a text was cut.
func maskCut(s, value string) string {
	if len(value) <= minCut {
		return s
	}
	for from := 0; ; {
		at := strings.Index(s[from:], value[:minCut])
		if at < 0 {
			return s
		}
		at += from
		from = at
		for from < len(s) && from-at < len(value) && s[from] == value[from-at] {
			from++
		}
		if rest := s[from:]; rest == "" || strings.HasPrefix(rest, "…") || strings.HasPrefix(rest, "...") {
			s = s[:at] + holdfast.MaskedProperty + rest
			from = at + len(holdfast.MaskedProperty)
		}
	}
}

// error returns the error without the values: with its code, and as what it is.
func (m *mask) error(err error) error {
	if err == nil {
		return nil
	}
	text := m.text(err.Error())
	inner, known := errors.AsType[*holdfast.Error](err)
	if text == err.Error() && (!known || m.text(inner.Msg) == inner.Msg && m.text(inner.Hint) == inner.Hint) {
		return err
	}
	out := &maskedError{text: text, inner: err}
	if known {
		shown := *inner
		shown.Msg, shown.Hint, shown.Err = m.text(inner.Msg), m.text(inner.Hint), nil
		out.shown = &shown
	}
	return out
}

// maskedError is an error whose text is masked.
type maskedError struct {
	text  string
	shown *holdfast.Error // nil: there is none in it
	inner error           // never shown
}

// Error returns the text.
func (e *maskedError) Error() string { return e.text }

// Is tells what the error is.
func (e *maskedError) Is(target error) bool { return errors.Is(e.inner, target) }

// As gives out what the error says in the domain's terms, and no more.
func (e *maskedError) As(target any) bool {
	into, ok := target.(**holdfast.Error)
	if ok = ok && e.shown != nil; ok {
		*into = e.shown
	}
	return ok
}

// rows masks what a preview shows.
func (m *mask) rows(rows [][]*string) {
	for _, row := range rows {
		for i, v := range row {
			if v != nil {
				s := m.text(*v)
				row[i] = &s
			}
		}
	}
}

// flow masks what a result says of a flow.
func (m *mask) flow(f engine.FlowResult) engine.FlowResult {
	f.Target, f.Counters = m.text(f.Target), slices.Clone(f.Counters)
	for i, c := range f.Counters {
		f.Counters[i].Before, f.Counters[i].After = m.text(c.Before), m.text(c.After)
	}
	return f
}

// logger returns a logger that masks what it logs.
func (m *mask) logger(log *slog.Logger) *slog.Logger { return slog.New(maskedLog{log.Handler(), m}) }

// maskedLog is a handler that masks messages and values.
type maskedLog struct {
	slog.Handler
	mask *mask
}

// Handle masks a record.
func (h maskedLog) Handle(ctx context.Context, r slog.Record) error {
	out := slog.NewRecord(r.Time, r.Level, h.mask.text(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		out.AddAttrs(h.attr(a))
		return true
	})
	return h.Handler.Handle(ctx, out)
}

// WithAttrs masks the attributes.
func (h maskedLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	all := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		all[i] = h.attr(a)
	}
	return maskedLog{h.Handler.WithAttrs(all), h.mask}
}

// WithGroup begins a group.
func (h maskedLog) WithGroup(name string) slog.Handler {
	return maskedLog{h.Handler.WithGroup(name), h.mask}
}

func (h maskedLog) attr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(h.mask.text(a.Value.String()))
	case slog.KindAny:
		text := fmt.Sprintf("%+v", a.Value.Any())
		if masked := h.mask.text(text); masked != text {
			a.Value = slog.StringValue(masked)
		}
	case slog.KindGroup:
		group := slices.Clone(a.Value.Group())
		for i, inner := range group {
			group[i] = h.attr(inner)
		}
		a.Value = slog.GroupValue(group...)
	case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindTime, slog.KindUint64, slog.KindLogValuer:
	}
	return a
}

// hideSecrets tells the mask the secrets among the properties, and what parameters
// make of them. The plan is nil when there is none.
func (e *execution) hideSecrets(properties map[string]string, plan *definition.Plan) {
	for name, value := range properties {
		if holdfast.SecretProperty(name) || plan != nil && secretProperty(plan.Definition, name) {
			e.mask.hide(value)
		}
	}
	if plan == nil {
		return
	}
	for name, p := range plan.Definition.Parameters {
		value := plan.Parameters[name]
		if _, given := properties[p.Property]; given && value != nil && secretProperty(plan.Definition, p.Property) {
			e.mask.hide(*value)
		}
	}
}

// secretProperty reports whether a property's value stays out of what leaves the
// engine: it is the key of a hash, or its name says so.
func secretProperty(d *definition.Definition, name string) bool {
	if holdfast.SecretProperty(name) {
		return true
	}
	for parameter, p := range d.Parameters {
		if parameter != name && p.Property != name {
			continue
		}
		for _, t := range d.Transform {
			for _, s := range t.Rows {
				if s.Hash != nil && s.Hash.Key == parameter {
					return true
				}
			}
		}
	}
	return false
}
