package service_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestPlainJobsAreThoseOfJobs(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.job(i%2, newName())
	}
	for _, actor := range []holdfast.Actor{r.admin, r.actor(holdfast.RoleReader, r.sites[1].ID)} {
		for _, f := range []store.JobFilter{{}, {Page: store.Page{Limit: 1}}, {Sites: []holdfast.SiteID{r.sites[0].ID}}} {
			views, total, err := r.svc.Jobs(t.Context(), actor, f)
			if err != nil {
				t.Fatal(err)
			}
			jobs, plainTotal, err := r.svc.PlainJobs(t.Context(), actor, f)
			if err != nil || len(jobs) != len(views) || plainTotal != total {
				t.Fatalf("%+v: got %d of %d jobs, %v, want %d of %d", f, len(jobs), plainTotal, err, len(views), total)
			}
			for i, j := range jobs {
				if j.ID != views[i].ID || j.Name != views[i].Name {
					t.Errorf("%+v: got job %d %q, want %d %q", f, j.ID, j.Name, views[i].ID, views[i].Name)
				}
			}
		}
	}
	_, _, err := r.svc.PlainJobs(t.Context(), r.admin, store.JobFilter{Page: store.Page{Offset: -1}})
	wantInvalid(t, err)
}

func TestSiteSchedulesNameTheirJobs(t *testing.T) {
	r := newRig(t)
	berlin, paris := r.job(0, "nightly"), r.job(1, "weekly")
	for _, j := range []holdfast.Job{berlin, paris, berlin} {
		if _, err := r.svc.CreateSchedule(t.Context(), r.admin, holdfast.Schedule{Job: j.ID, Expression: "@daily", Active: true}); err != nil {
			t.Fatal(err)
		}
	}
	bound := r.actor(holdfast.RoleReader, r.sites[1].ID)
	for _, c := range []struct {
		name  string
		actor holdfast.Actor
		sites []holdfast.SiteID
		page  store.Page
		want  []string
	}{
		{"all", r.admin, nil, store.Page{}, []string{"nightly", "nightly", "weekly"}},
		{"a page", r.admin, nil, store.Page{Offset: 1, Limit: 2}, []string{"nightly", "weekly"}},
		{"of a site", r.admin, []holdfast.SiteID{r.sites[0].ID}, store.Page{}, []string{"nightly", "nightly"}},
		{"what a credential covers", bound, nil, store.Page{}, []string{"weekly"}},
		{"of a site that it does not cover", bound, []holdfast.SiteID{r.sites[0].ID}, store.Page{}, nil},
	} {
		list, err := r.svc.SiteSchedules(t.Context(), c.actor, c.sites, c.page)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range list {
			got = append(got, s.JobName)
			if s.Expression == "" || s.Site != map[string]holdfast.SiteID{"nightly": r.sites[0].ID, "weekly": r.sites[1].ID}[s.JobName] {
				t.Errorf("%s: got %+v, which is not that job's", c.name, s)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		for i := range min(len(got), len(c.want)) {
			if got[i] != c.want[i] {
				t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			}
		}
	}
	if err := r.svc.DeleteJob(t.Context(), r.admin, paris.ID); err != nil {
		t.Fatal(err)
	}
	if list, err := r.svc.SiteSchedules(t.Context(), bound, nil, store.Page{}); err != nil || len(list) != 0 {
		t.Errorf("of a deleted job: got %v, %v, want none", list, err)
	}
	_, err := r.svc.SiteSchedules(t.Context(), r.admin, nil, store.Page{Limit: -1})
	wantInvalid(t, err)
}
