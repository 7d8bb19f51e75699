package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// PlainJobs is [Service.Jobs] without what is known of their runs, for who does
// not look at it.
func (s *Service) PlainJobs(ctx context.Context, actor holdfast.Actor, f store.JobFilter) ([]holdfast.Job, int, error) {
	if err := allow(actor, opPlainJobs, account()); err != nil {
		return nil, 0, err
	}
	if err := checkPage(f.Page); err != nil {
		return nil, 0, err
	}
	var ok bool
	if f.Sites, ok = inScope(actor, f.Sites); !ok {
		return nil, 0, nil
	}
	var jobs []holdfast.Job
	var total int
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		jobs, total, err = r.Jobs(ctx, actor.Principal.Account, f)
		return err
	})
	return jobs, total, err
}

// JobSchedule is a schedule with what names its job.
type JobSchedule struct {
	holdfast.Schedule
	Site    holdfast.SiteID
	JobName string
}

// SiteSchedules lists the schedules of the backup jobs of the sites, of every site
// when none is named, that the credential covers: by job, then by id.
func (s *Service) SiteSchedules(ctx context.Context, actor holdfast.Actor, sites []holdfast.SiteID, p store.Page) ([]JobSchedule, error) {
	if err := allow(actor, opSiteSchedules, account()); err != nil {
		return nil, err
	}
	if err := checkPage(p); err != nil {
		return nil, err
	}
	sites, ok := inScope(actor, sites)
	if !ok {
		return nil, nil
	}
	var list []JobSchedule
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		list = nil
		schedules, err := r.SiteSchedules(ctx, actor.Principal.Account, sites, p)
		if err != nil {
			return err
		}
		var j holdfast.Job
		for _, sc := range schedules {
			if sc.Job != j.ID {
				if j, err = r.Job(ctx, sc.Account, sc.Job); err != nil {
					return err
				}
			}
			list = append(list, JobSchedule{sc, j.Site, j.Name})
		}
		return nil
	})
	return list, err
}
