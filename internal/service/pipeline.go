package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Pipelines is what the service needs of the workers that run ETLs. Each call asks
// one worker that stands on the host of the job's site; CodeUnavailable when none
// answers.
type Pipelines interface {
	// ETLCounters reads how far each flow has been loaded.
	ETLCounters(ctx context.Context, t holdfast.ETLTask) ([]engine.FlowCounter, error)
	// SetETLCounter makes the next execution go on from another value; an empty one
	// means from the beginning. CodeNotFound when the flow has no such extract,
	// CodeConflict while an execution has a transaction open.
	SetETLCounter(ctx context.Context, t holdfast.ETLTask, flow, extract, value string) error
	// PreviewETL reads the first rows of each relation that the definition names.
	PreviewETL(ctx context.Context, t holdfast.ETLTask, rows int) ([]engine.Relation, error)
}
