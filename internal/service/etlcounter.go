package service

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Limits of questions to workers about ETLs.
const (
	counterTimeout = 30 * time.Second
	previewTimeout = 2 * time.Minute
	maxCounter     = 128 << 10 // bytes of a counter's value
	defaultRows    = 10        // of each relation of a preview
	maxRows        = 1000
)

// task reads what a worker needs to know of a job. Without an active run
// configuration it has no properties.
func task(ctx context.Context, r store.Reader, j holdfast.Job, run holdfast.ETLRun) (holdfast.ETLTask, error) {
	t := holdfast.ETLTask{Job: j}
	for _, id := range j.ETL.Sites {
		site, err := r.Site(ctx, j.Account, id)
		if err != nil {
			return t, found(err, siteWord(id))
		}
		if id == j.Site {
			t.Site = site
		}
		t.Sites = append(t.Sites, site)
	}
	if j.ETL.Active() == nil {
		return t, nil
	}
	var err error
	t.Properties, err = j.ETL.PropertiesOf(run)
	return t, err
}

// ETLCounters returns how far each flow of an ETL has been loaded. CodeUnavailable
// when no worker on the host of its site answers.
func (s *Service) ETLCounters(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) ([]engine.FlowCounter, error) {
	var t holdfast.ETLTask
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := findETL(ctx, r, actor, opETLCounters, id)
		if err != nil {
			return err
		}
		t, err = task(ctx, r, j, holdfast.ETLRun{})
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, counterTimeout)
	defer cancel()
	return s.cfg.Pipelines.ETLCounters(ctx, t)
}

// SetETLCounter makes the next execution of an ETL go on from another value; an
// empty one means from the beginning. CodeConflict while an execution works, which
// would set it again; CodeNotFound when the flow has no such extract. An event says
// who asks for it before a worker does, and another one what became of it: when the
// first stands alone, or the second names an error, look at the counter.
func (s *Service) SetETLCounter(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, flow, extract, value string) error {
	data := facts{"flow": flow, "extract": extract, "value": value}
	tell := func(ctx context.Context, tx store.Tx, kind string) error {
		return record(ctx, tx, actor, s.now(), jobWord(id), kind, data)
	}
	var t holdfast.ETLTask
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		j, err := findETL(ctx, tx, actor, opSetETLCounter, id)
		if err != nil {
			return err
		}
		if len(value) > maxCounter {
			return holdfast.Errorf(holdfast.CodeInvalid, "the counter has %d bytes", len(value)).WithHint("use at most %d", maxCounter)
		}
		state := &turn{job: j}
		if err := state.read(ctx, tx); err != nil {
			return err
		}
		if state.current != nil {
			conflict := holdfast.Errorf(holdfast.CodeConflict, "execution %d of ETL %d works, and would set the counter again", state.current.ID, id).
				WithHint("stop it first")
			conflict.Execution = state.current.ID
			return conflict
		}
		if t, err = task(ctx, tx, j, holdfast.ETLRun{}); err != nil {
			return err
		}
		data["site"] = j.Site
		return tell(ctx, tx, "etl.counter_asked")
	})
	if err != nil {
		return err
	}
	// A caller who goes away meanwhile takes nothing back: who set it is told all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), counterTimeout+storeTimeout)
	defer cancel()
	asked, cancelAsked := context.WithTimeout(ctx, counterTimeout)
	defer cancelAsked()
	kind := "etl.counter_set"
	failed := s.cfg.Pipelines.SetETLCounter(asked, t, flow, extract, value)
	if failed != nil {
		kind, data["error"] = "etl.counter_failed", holdfast.ErrorMessage(failed)
	} else {
		s.cfg.Log.InfoContext(ctx, "counter of an ETL set", "job", id, "flow", flow, "extract", extract, "actor", actor.String())
	}
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error { return tell(ctx, tx, kind) })
	return errors.Join(failed, err)
}

// PreviewETL asks for the first rows of each relation of an ETL, or of a draft.
type PreviewETL struct {
	Job        holdfast.JobID // 0: Definition is a draft
	Definition string
	Site       holdfast.SiteID // of a draft; as in NewETL
	Properties map[string]string
	Rows       int // of each relation; 0 means 10, at most 1000
}

// PreviewETL reads the first rows of each relation that the definition names, and
// changes nothing. The credential must cover every site that it names. Errors are as
// those of [Service.CreateETL]; CodeUnavailable when no worker on the host of the
// site answers.
func (s *Service) PreviewETL(ctx context.Context, actor holdfast.Actor, in PreviewETL) ([]engine.Relation, error) {
	if in.Job == 0 {
		if err := mayDefine(actor, opPreviewETL, in.Site); err != nil {
			return nil, err
		}
	}
	d, parseErr := definition.Parse([]byte(in.Definition))
	var t holdfast.ETLTask
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := s.previewed(ctx, r, actor, in, d, parseErr)
		if err != nil {
			return err
		}
		run := j.ETL.RunOf(in.Properties, nil, false)
		if err := run.Validate(); err != nil {
			return err
		}
		t, err = task(ctx, r, j, run)
		return err
	})
	if err != nil {
		return nil, err
	}
	rows := in.Rows
	switch {
	case rows < 0 || rows > maxRows:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a preview of %d rows is out of range", rows).WithHint("use 1 to %d", maxRows)
	case rows == 0:
		rows = defaultRows
	}
	ctx, cancel := context.WithTimeout(ctx, previewTimeout)
	defer cancel()
	return s.cfg.Pipelines.PreviewETL(ctx, t, rows)
}

// previewed is the job that a preview is of.
func (s *Service) previewed(
	ctx context.Context, r store.Reader, actor holdfast.Actor, in PreviewETL, d *definition.Definition, parseErr error,
) (holdfast.Job, error) {
	if in.Job != 0 {
		return findETL(ctx, r, actor, opPreviewETL, in.Job)
	}
	if in.Site != 0 {
		if _, err := findSite(ctx, r, actor, opPreviewETL, in.Site); err != nil {
			return holdfast.Job{}, err
		}
	}
	if parseErr != nil {
		return holdfast.Job{}, parseErr
	}
	j := holdfast.Job{
		Account: actor.Principal.Account, Site: in.Site, Type: holdfast.JobETL, Engine: holdfast.EngineETL, Name: d.Name,
		ETL: &holdfast.ETLSpec{
			Service: d.Mode == definition.ModeService, Definition: in.Definition,
			Configurations: []holdfast.RunConfiguration{{ID: holdfast.FirstID, Name: defaultConfiguration, Active: true}},
		},
	}
	return j, s.placeETL(ctx, r, actor, d, &j)
}
