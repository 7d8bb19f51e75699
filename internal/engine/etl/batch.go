package etl

import (
	"context"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

func (e *execution) service() bool { return e.plan.Definition.Mode == definition.ModeService }

// batch does an execution that ends when what there was is loaded.
func (e *execution) batch(ctx context.Context) error {
	e.logStart(ctx)
	if err := e.claim(ctx); err != nil {
		return err
	}
	for i, f := range e.flows {
		if err := f.run(ctx); err != nil {
			return err
		}
		if e.stopping() && i < len(e.flows)-1 {
			return errStopped()
		}
	}
	return e.judge(ctx)
}

// logStart says what the execution works with. Secrets are masked.
func (e *execution) logStart(ctx context.Context) {
	masked := map[string]string{}
	for name, value := range e.req.Properties {
		if secretProperty(e.plan.Definition, name) {
			value = holdfast.MaskedProperty
		}
		masked[name] = value
	}
	attrs := []any{
		"etl", e.plan.Definition.Name, "mode", string(e.plan.Definition.Mode), "flows", len(e.flows), "properties", masked, "simulated", e.req.Simulate,
	}
	ignored := strings.Join(e.plan.Ignored, ", ")
	if ignored != "" {
		attrs = append(attrs, "ignored", ignored)
	}
	e.log.With(attrs...).InfoContext(ctx, "etl starts")
	if ignored != "" && e.plan.Definition.UnknownProperties == definition.UnknownWarn {
		e.warn(ctx, "properties that no parameter names were ignored", "properties", ignored)
	}
}

// judge looks at the execution as a whole.
func (e *execution) judge(ctx context.Context) error {
	var read int64
	for _, f := range e.flows {
		read += f.result.Read
		f.warnRejects(ctx)
	}
	if read > 0 {
		return nil
	}
	switch e.plan.Definition.Empty {
	case definition.SeverityWarning:
		e.warn(ctx, "nothing was read")
	case definition.SeverityError:
		return holdfast.Errorf(holdfast.CodeInvalid, "nothing was read").WithHint("look at the source; or let the definition say empty: warning")
	case definition.SeverityOK:
	}
	return nil
}
