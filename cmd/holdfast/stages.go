package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// stage is one part of a server, which others stand on.
type stage struct {
	name string
	run  func(ctx context.Context) error
}

// runStages runs all stages until ctx ends or one of them does, and then ends
// them one after the other, the last one first: what stands on others comes to
// rest before them.
func runStages(ctx context.Context, stages ...stage) error {
	type running struct {
		cancel context.CancelCauseFunc
		done   chan struct{}
		err    error
	}
	all := make([]*running, len(stages))
	over := make(chan struct{}, len(stages))
	for i, s := range stages {
		sctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
		r := &running{cancel: cancel, done: make(chan struct{})}
		all[i] = r
		go func() {
			defer close(r.done)
			if err := s.run(sctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errSignal) {
				r.err = fmt.Errorf("%s: %w", s.name, err)
			}
			over <- struct{}{}
		}()
	}
	select {
	case <-ctx.Done():
	case <-over:
	}
	var errs []error
	for _, r := range slices.Backward(all) {
		r.cancel(errSignal)
		<-r.done
		errs = append(errs, r.err)
	}
	return errors.Join(errs...)
}
