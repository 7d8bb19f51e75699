package worker

import (
	"errors"
	"fmt"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

func (r *run) restore(e engine.Engine, secrets wire.Secrets) (res engine.Result, err error) {
	r.progress.Phase("open")
	repo, err := r.w.openRepository(r.soft, r.order.Repository, secrets.Repository)
	if err != nil {
		return res, err
	}
	reader, err := repo.NewReader(r.soft, r.order.Snapshot)
	if err != nil {
		return res, fmt.Errorf("open backup set %d: %w", r.order.Set, err)
	}
	defer func() {
		closeErr := reader.Close()
		if err == nil && closeErr != nil {
			r.log.WarnContext(r.link, "repository not closed cleanly", "error", closeErr)
			return
		}
		err = errors.Join(err, closeErr)
	}()
	damage := Damage(r.soft, reader)
	res, err = e.Restore(r.soft, engine.Restore{
		Installation: r.order.Installation, Execution: r.order.Execution, Fence: r.order.Fence, Spec: *r.order.Restore,
		Roots: r.w.cfg.RestoreRoots, Report: &r.progress, Log: r.log,
	}, reader)
	if err == nil && damage != "" {
		res.Warnings = append(res.Warnings, damage)
	}
	return res, err
}
