package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// definitionOf is a definition that reads from one place and loads into another.
func definitionOf(name, mode, from, to string) string {
	text := "apiVersion: holdfast/etl/v1\nname: " + name + "\ndescription: all orders\n"
	if mode != "" {
		text += "mode: " + mode + "\n"
	}
	if mode == "service" {
		text += "service: {interval: 10s}\n"
	}
	where := func(site string) string {
		if strings.HasPrefix(site, "/") {
			return "{directory: " + site + "}"
		}
		return "{site: " + site + "}"
	}
	load := "table: mart.orders, mode: replace"
	if strings.HasPrefix(to, "/") {
		load = "output: {path: orders, format: csv}"
	}
	extract := "table: public.orders"
	if strings.HasPrefix(from, "/") {
		extract = "file: {path: orders.csv, format: csv, fields: [{name: id, type: bigint}]}"
	}
	return text + "connections:\n  from: " + where(from) + "\n  to: " + where(to) + "\n" +
		"extract:\n  - {name: orders, connection: from, " + extract + "}\n" +
		"load:\n  - {from: orders, connection: to, " + load + "}\n"
}

// berlinETL reads and writes at one site, in batches.
var berlinETL = definitionOf("orders", "", "berlin", "berlin")

// serviceETL is berlinETL as a service.
var serviceETL = definitionOf("follow", "service", "berlin", "berlin")

// etl makes an ETL.
func (r *rig) etl(name, text string) holdfast.Job {
	r.t.Helper()
	return must(r.svc.CreateETL(r.t.Context(), r.admin, service.NewETL{Name: name, Definition: text}))(r.t)
}

func TestCreateETL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	before := r.lastEvent().ID
	j := must(r.svc.CreateETL(t.Context(), r.admin, service.NewETL{
		Definition: definitionOf("orders", "", "berlin", "paris"), Priority: 2, AutoAbort: holdfast.AutoAbort{Active: true, After: time.Hour},
		Properties: map[string]string{"day": "1", "api_key": "planted"},
	}))(t)
	want := &holdfast.ETLSpec{
		Definition: definitionOf("orders", "", "berlin", "paris"), Sites: []holdfast.SiteID{r.sites[0].ID, r.sites[1].ID},
		Configurations: []holdfast.RunConfiguration{
			{ID: holdfast.FirstID, Name: "Default", Active: true, Properties: map[string]string{"day": "1", "api_key": "planted"}},
		},
	}
	wantSame(t, "ETL", j.ETL, want)
	if j.Name != "orders" || j.Description != "all orders" || j.Site != r.sites[1].ID || j.Type != holdfast.JobETL || j.Engine != holdfast.EngineETL ||
		j.Priority != 2 || !j.Active || j.AutoAbort.After != time.Hour {
		t.Errorf("got %+v, want a job as the definition and the request say", j)
	}
	wantSame(t, "stored ETL", must(r.svc.ETLStatus(t.Context(), r.admin, j.ID))(t), service.ETLStatus{Job: j})
	events := r.events(before)
	if len(events) != 1 || events[0].Kind != "etl.created" || events[0].Site != j.Site || strings.Contains(string(events[0].Data), "planted") {
		t.Errorf("got events %+v, want one that tells no values", events)
	}
	other := must(r.svc.CreateETL(t.Context(), r.admin, service.NewETL{Site: r.sites[0].ID, Name: "second", Description: "words", Definition: j.ETL.Definition}))(t)
	if other.Site != r.sites[0].ID || other.Name != "second" || other.Description != "words" || other.ETL.Configurations[0].ID != holdfast.FirstID+1 || other.ETL.Service {
		t.Errorf("got %+v, want what the request says in place of the definition", other)
	}
	if got := r.etl("follow", serviceETL); !got.ETL.Service {
		t.Errorf("got %+v, want a service", got.ETL)
	}
}

func wantSame(t *testing.T, what string, got, want any) {
	t.Helper()
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if string(g) != string(w) {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

func TestTheSiteOfAnETL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const berlin, paris = 0, 1
	for _, c := range []struct {
		name     string
		from, to string
		asked    holdfast.SiteID
		want     int // -1: CodeInvalid
		sites    int
	}{
		{"the first load's", "berlin", "paris", 0, paris, 2},
		{"the first extract's, when files are written", "berlin", "/data", 0, berlin, 1},
		{"the one that is asked for", "berlin", "paris", r.sites[berlin].ID, berlin, 2},
		{"one that is asked for, and not named", "berlin", "/data", r.sites[paris].ID, paris, 2},
		{"files only", "/data", "/data", 0, -1, 0},
		{"files only, at a site", "/data", "/data", r.sites[paris].ID, paris, 1},
	} {
		j, err := r.svc.CreateETL(t.Context(), r.admin, service.NewETL{Name: newName(), Site: c.asked, Definition: definitionOf("x", "", c.from, c.to)})
		if c.want < 0 {
			wantInvalid(t, err)
			continue
		}
		if err != nil || j.Site != r.sites[c.want].ID || len(j.ETL.Sites) != c.sites || !slices.Contains(j.ETL.Sites, j.Site) {
			t.Errorf("%s: got site %d of %v and error %v, want %s of %d", c.name, j.Site, j.ETL, err, r.sites[c.want].Slug, c.sites)
		}
	}
}

func TestETLsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.etl("taken", berlinETL)
	inBerlin := r.actor(holdfast.RoleAdmin, r.sites[0].ID)
	for _, c := range []struct {
		name  string
		actor holdfast.Actor
		in    service.NewETL
		code  holdfast.Code
		words string
	}{
		{"no definition", r.admin, service.NewETL{}, holdfast.CodeInvalid, ""},
		{"no YAML", r.admin, service.NewETL{Definition: "{"}, holdfast.CodeInvalid, ""},
		{"an unknown site", r.admin, service.NewETL{Definition: definitionOf("orders", "", "berlin", "oslo")}, holdfast.CodeNotFound, `connection "to" names the site "oslo"`},
		{"a site that is not covered", inBerlin, service.NewETL{Definition: definitionOf("x", "", "berlin", "paris")}, holdfast.CodeNotFound, `connection "to" names the site "paris"`},
		{"a name that is taken", r.admin, service.NewETL{Name: "taken", Definition: berlinETL}, holdfast.CodeConflict, ""},
		{"a long name", r.admin, service.NewETL{Name: strings.Repeat("n", 129), Definition: berlinETL}, holdfast.CodeInvalid, "129 characters"},
		{"a priority of none", r.admin, service.NewETL{Priority: 9, Definition: berlinETL}, holdfast.CodeInvalid, "priority 9"},
		{"a property without a name", r.admin, service.NewETL{Definition: berlinETL, Properties: map[string]string{"": "1"}}, holdfast.CodeInvalid, "no name"},
	} {
		_, err := r.svc.CreateETL(t.Context(), c.actor, c.in)
		if holdfast.ErrorCode(err) != c.code || !strings.Contains(holdfast.ErrorMessage(err), c.words) {
			t.Errorf("%s: got %v (%s), want %s and the words %q", c.name, err, holdfast.ErrorCode(err), c.code, c.words)
		}
	}
	_, err := r.svc.CreateJob(t.Context(), r.admin, holdfast.Job{
		Site: r.sites[0].ID, Name: "x", Type: holdfast.JobETL, ETL: r.etl("y", berlinETL).ETL,
	})
	wantInvalid(t, err)
	if jobs, _, _ := r.svc.ETLs(t.Context(), r.admin, service.ETLFilter{}, store.Page{}); len(jobs) != 2 {
		t.Errorf("got %d ETLs, want the two that were made", len(jobs))
	}
}

// The event of a change says what was changed in run configurations, and no value.
func TestChangesOfRunConfigurationsAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.etl("orders", berlinETL)
	for _, c := range []struct {
		name   string
		mutate func(s *holdfast.ETLSpec)
		want   string // of the changes; empty: none
	}{
		{"nothing", func(*holdfast.ETLSpec) {}, ""},
		{
			"another one", func(s *holdfast.ETLSpec) {
				s.Configurations = append(s.Configurations, holdfast.RunConfiguration{Name: "trial", Properties: map[string]string{"region": "planted", "token": "planted", "b": ""}})
			},
			`[{"added":true,"id":1002,"name":"trial","properties_added":["b","region","token"]}]`,
		},
		{
			"properties", func(s *holdfast.ETLSpec) {
				s.Configurations[1].Properties = map[string]string{"region": "planted too", "token": "planted", "a": "planted"}
			},
			`[{"id":1002,"name":"trial","properties_added":["a"],"properties_changed":["region"],"properties_removed":["b"]}]`,
		},
		{
			"a secret, and which is active", func(s *holdfast.ETLSpec) {
				s.Configurations[1].Properties["token"] = "planted too"
				s.Configurations[0].Active, s.Configurations[1].Active, s.Configurations[1].Name = false, true, "south"
			},
			`[{"active":false,"id":1001,"name":"Default"},{"active":true,"id":1002,"name":"south","name_before":"trial","properties_changed":["token"]}]`,
		},
		{
			"one less", func(s *holdfast.ETLSpec) { s.Configurations = s.Configurations[1:] },
			`[{"id":1001,"name":"Default","removed":true}]`,
		},
	} {
		must(r.svc.UpdateETL(t.Context(), r.admin, j.ID, func(j *holdfast.Job) error { c.mutate(j.ETL); return nil }))(t)
		data := r.lastEvent().Data
		var got struct {
			Changes json.RawMessage `json:"changes"`
		}
		must(0, json.Unmarshal(data, &got))(t)
		if string(got.Changes) != c.want || strings.Contains(string(data), "planted") {
			t.Errorf("%s: got %s, want the changes %s", c.name, data, c.want)
		}
	}
}

func TestUpdateETL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.etl("orders", berlinETL)
	before := r.lastEvent().ID
	changed := must(r.svc.UpdateETL(ctx, r.admin, j.ID, func(j *holdfast.Job) error {
		j.Name, j.Annotations = "renamed", map[string]json.RawMessage{"bmc": json.RawMessage(`{"a":1}`)}
		j.ETL.Definition = definitionOf("orders", "", "paris", "berlin")
		j.ETL.Configurations[0].Active = false
		j.ETL.Configurations = append(j.ETL.Configurations, holdfast.RunConfiguration{Name: "other", Active: true, Properties: map[string]string{"a": "1"}})
		return nil
	}))(t)
	wantSame(t, "stored ETL", must(r.svc.ETLStatus(ctx, r.admin, j.ID))(t).Job, changed)
	if len(changed.ETL.Sites) != 2 || changed.Site != j.Site || changed.ETL.Active().ID != holdfast.FirstID+1 {
		t.Errorf("got %+v, want both sites and the second run configuration", changed.ETL)
	}
	if events := r.events(before); len(events) != 1 || events[0].Kind != "etl.updated" || !strings.Contains(string(events[0].Data), `"definition_changed":true`) {
		t.Errorf("got events %+v, want one of the change", events)
	}
	failed := errors.New("no")
	inBerlin := r.actor(holdfast.RoleAdmin, r.sites[0].ID)
	for _, c := range []struct {
		name   string
		actor  holdfast.Actor
		mutate func(j *holdfast.Job) error
		code   holdfast.Code
	}{
		{"an error", r.admin, func(*holdfast.Job) error { return failed }, holdfast.CodeInternal},
		{"a bad definition", r.admin, func(j *holdfast.Job) error { j.ETL.Definition = "{"; return nil }, holdfast.CodeInvalid},
		{"another mode", r.admin, func(j *holdfast.Job) error { j.ETL.Definition = serviceETL; return nil }, holdfast.CodeInvalid},
		{"another mark", r.admin, func(j *holdfast.Job) error { j.ETL.Service, j.ETL.Aborted = true, true; return nil }, ""},
		{"no spec", r.admin, func(j *holdfast.Job) error { j.ETL = nil; return nil }, holdfast.CodeInvalid},
		{"another type", r.admin, func(j *holdfast.Job) error { j.Type = holdfast.JobBackup; return nil }, holdfast.CodeInvalid},
		{"another site", r.admin, func(j *holdfast.Job) error { j.Site = r.sites[1].ID; return nil }, holdfast.CodeInvalid},
		{"an unknown site", r.admin, func(j *holdfast.Job) error {
			j.ETL.Definition = definitionOf("orders", "", "oslo", "berlin")
			return nil
		}, holdfast.CodeNotFound},
		{"a foreign run configuration", r.admin, func(j *holdfast.Job) error { j.ETL.Configurations[0].ID = 5; return nil }, holdfast.CodeInvalid},
		{"no run configuration", r.admin, func(j *holdfast.Job) error { j.ETL.Configurations = nil; return nil }, holdfast.CodeInvalid},
		{"two active", r.admin, func(j *holdfast.Job) error { j.ETL.Configurations[0].Active = true; return nil }, holdfast.CodeInvalid},
		{"by who is not for every site", inBerlin, func(*holdfast.Job) error { return nil }, holdfast.CodeForbidden},
	} {
		_, err := r.svc.UpdateETL(ctx, c.actor, j.ID, c.mutate)
		if holdfast.ErrorCode(err) != c.code {
			t.Errorf("%s: got %v, want %q", c.name, err, c.code)
		}
		wantSame(t, "ETL after "+c.name, must(r.svc.ETLStatus(ctx, r.admin, j.ID))(t).Job, changed)
	}
	_, err := r.svc.UpdateJob(ctx, r.admin, j.ID, func(j *holdfast.Job) error { j.Name = "x"; return nil })
	wantInvalid(t, err)
	_, err = r.svc.UpdateETL(ctx, r.admin, r.job(0, "backup").ID, func(*holdfast.Job) error { return nil })
	wantCode(t, err, holdfast.CodeNotFound)
}

func TestWhatIsPlannedFollowsTheTiming(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.etl("orders", berlinETL)
	set := func(rec *holdfast.Recurrence) *holdfast.Execution {
		t.Helper()
		must(r.svc.UpdateETL(ctx, r.admin, j.ID, func(j *holdfast.Job) error { j.ETL.Recurrence = rec; return nil }))(t)
		return must(r.svc.ETLStatus(ctx, r.admin, j.ID))(t).Planned
	}
	if got := set(&holdfast.Recurrence{Start: start.Add(time.Minute), Period: time.Hour}); got != nil {
		t.Errorf("got %+v planned by a timing that is not armed", got)
	}
	armed := set(&holdfast.Recurrence{Start: start.Add(time.Minute), Period: time.Hour, Armed: true})
	if armed == nil || !armed.Due.Equal(start.Add(time.Minute)) {
		t.Fatalf("got %+v planned, want one at the start", armed)
	}
	moved := set(&holdfast.Recurrence{Start: start.Add(-time.Minute), Period: time.Hour, Armed: true})
	if moved == nil || moved.ID != armed.ID || !moved.Due.Equal(start.Add(59*time.Minute)) {
		t.Errorf("got %+v planned, want the same an hour after the new start", moved)
	}
	if got := set(nil); got != nil {
		t.Errorf("got %+v planned without a timing", got)
	}
	if got := must(r.svc.Execution(ctx, r.admin, armed.ID))(t); got.Outcome != holdfast.OutcomeCancelled {
		t.Errorf("got outcome %q of what was planned, want it cancelled", got.Outcome)
	}
}

func TestDeleteETL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := must(r.svc.CreateETL(ctx, r.admin, service.NewETL{Definition: definitionOf("orders", "", "paris", "berlin")}))(t)
	if err := r.svc.DeleteSite(ctx, r.admin, r.sites[1].ID); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("got %v, want a conflict: the ETL names the site", err)
	}
	planned := must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: j.ID}, Period: time.Hour}))(t)
	ran := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t)
	wantCode(t, r.svc.DeleteJob(ctx, r.admin, j.ID), holdfast.CodeConflict)
	must(r.svc.StopETL(ctx, r.admin, j.ID))(t)
	if err := r.svc.DeleteJob(ctx, r.admin, j.ID); err != nil {
		t.Fatal(err)
	}
	for _, id := range []holdfast.ExecutionID{planned.Execution, ran.Execution} {
		if e := must(r.svc.Execution(ctx, r.admin, id))(t); e.Outcome != holdfast.OutcomeCancelled {
			t.Errorf("got %s with outcome %q, want it cancelled with its ETL", e.State, e.Outcome)
		}
	}
	_, err := r.svc.ETLStatus(ctx, r.admin, j.ID)
	wantCode(t, err, holdfast.CodeNotFound)
	_, err = r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID})
	wantCode(t, err, holdfast.CodeNotFound)
	if err := r.svc.DeleteSite(ctx, r.admin, r.sites[1].ID); err != nil {
		t.Errorf("got %v, want the site to go after the ETL", err)
	}
}

func TestETLsAreListed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.job(0, "backup")
	names := map[string]map[string]string{"a": {"x": "1", "y": "1"}, "b": {"x": "1", "y": "2"}, "c": {"x": "2"}, "d": nil}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		site := "berlin"
		if name == "d" {
			site = "paris"
		}
		must(r.svc.CreateETL(ctx, r.admin, service.NewETL{Name: name, Definition: definitionOf("x", "", site, site), Properties: names[name]}))(t)
	}
	inParis := r.actor(holdfast.RoleReader, r.sites[1].ID)
	for _, c := range []struct {
		what   string
		actor  holdfast.Actor
		filter service.ETLFilter
		page   store.Page
		want   string
		total  int
	}{
		{"all", r.admin, service.ETLFilter{}, store.Page{}, "a b c d", 4},
		{"a page", r.admin, service.ETLFilter{}, store.Page{Offset: 1, Limit: 2}, "b c", 4},
		{"behind the end", r.admin, service.ETLFilter{}, store.Page{Offset: 9, Limit: 2}, "", 4},
		{"of a site", inParis, service.ETLFilter{}, store.Page{}, "d", 1},
		{"with a property", r.admin, service.ETLFilter{Properties: map[string]string{"x": "1"}}, store.Page{}, "a b", 2},
		{"with both", r.admin, service.ETLFilter{Properties: map[string]string{"x": "1", "y": "2"}}, store.Page{}, "b", 1},
		{"with any", r.admin, service.ETLFilter{Properties: map[string]string{"x": "2", "y": "2"}, Any: true}, store.Page{}, "b c", 2},
		{"with none", r.admin, service.ETLFilter{Properties: map[string]string{"x": "3"}}, store.Page{}, "", 0},
	} {
		list, total, err := r.svc.ETLs(ctx, c.actor, c.filter, c.page)
		var got []string
		for _, j := range list {
			got = append(got, j.Name)
			if j.ETL.Definition != "" {
				t.Errorf("%s: got the definition of %s in a list", c.what, j.Name)
			}
		}
		if err != nil || total != c.total || strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %v of %d and error %v, want %q of %d", c.what, got, total, err, c.want, c.total)
		}
	}
	_, _, err := r.svc.ETLs(ctx, r.admin, service.ETLFilter{}, store.Page{Offset: -1})
	wantInvalid(t, err)
}

func TestETLCounters(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := must(r.svc.CreateETL(ctx, r.admin, service.NewETL{
		Definition: definitionOf("orders", "", "paris", "berlin"), Properties: map[string]string{"day": "1"},
	}))(t)
	r.out.counters = []engine.FlowCounter{{Flow: "orders", Extract: "orders", Value: "7"}}
	wantSame(t, "counters", must(r.svc.ETLCounters(ctx, r.admin, j.ID))(t), r.out.counters)
	call := r.out.etlCalls[0].task
	if call.Site.ID != j.Site || len(call.Sites) != 2 || call.Properties["day"] != "1" || call.Job.ETL.Definition == "" {
		t.Errorf("got task %+v, want both sites and the properties", call)
	}
	before := r.lastEvent().ID
	if err := r.svc.SetETLCounter(ctx, r.admin, j.ID, "orders", "orders", "5"); err != nil {
		t.Fatal(err)
	}
	last := r.out.etlCalls[1]
	if last.flow != "orders" || last.extract != "orders" || last.value != "5" {
		t.Errorf("got %+v, want the counter", last)
	}
	events := r.events(before)
	if len(events) != 2 || events[0].Kind != "etl.counter_asked" || events[1].Kind != "etl.counter_set" || events[1].Actor != r.admin.String() ||
		!strings.Contains(string(events[0].Data), `"value":"5"`) || !strings.Contains(string(events[1].Data), `"value":"5"`) {
		t.Errorf("got events %+v, want who set what", events)
	}
	r.out.etlErr = holdfast.Errorf(holdfast.CodeUnavailable, "no worker answers")
	wantCode(t, r.svc.SetETLCounter(ctx, r.admin, j.ID, "orders", "orders", "6"), holdfast.CodeUnavailable)
	got := r.events(events[1].ID)
	if len(got) != 2 || got[0].Kind != "etl.counter_asked" || got[1].Kind != "etl.counter_failed" || !strings.Contains(string(got[1].Data), `"error":"no worker answers"`) {
		t.Errorf("got events %+v, want that it was asked for and failed", got)
	}
	r.out.etlErr = nil
	wantInvalid(t, r.svc.SetETLCounter(ctx, r.admin, j.ID, "orders", "orders", strings.Repeat("9", 128<<10+1)))
	ran := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t)
	e := r.move(must(r.svc.Execution(ctx, r.admin, ran.Execution))(t), holdfast.MoveStart)
	err := r.svc.SetETLCounter(ctx, r.admin, j.ID, "orders", "orders", "6")
	wantCode(t, err, holdfast.CodeConflict)
	if conflict, ok := errors.AsType[*holdfast.Error](err); !ok || conflict.Execution != e.ID {
		t.Errorf("got %v, want the execution that stands in the way", err)
	}
}

func TestACounterThatIsSetIsToldOfWhoeverGoesAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.etl("orders", berlinETL)
	before := r.lastEvent().ID
	ctx, cancel := context.WithCancel(t.Context())
	r.out.meanwhile = cancel
	if err := r.svc.SetETLCounter(ctx, r.admin, j.ID, "orders", "orders", "5"); err != nil {
		t.Error(err)
	}
	if events := r.events(before); len(events) != 2 || events[1].Kind != "etl.counter_set" {
		t.Errorf("got events %+v, want who set the counter", events)
	}
}

func TestTheNewestOfAnETLWhenTheClockIsSetBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.etl("clock", berlinETL)
	r.clock.add(2 * time.Hour) // the clock is ahead
	a := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t)
	r.move(r.move(must(r.svc.Execution(ctx, r.admin, a.Execution))(t), holdfast.MoveStart), holdfast.MoveFail)
	r.clock.add(-2 * time.Hour) // and put right
	b := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t)
	r.move(r.move(must(r.svc.Execution(ctx, r.admin, b.Execution))(t), holdfast.MoveStart), holdfast.MoveSucceed)
	st := must(r.svc.ETLStatus(ctx, r.admin, j.ID))(t)
	if st.Finished.ID != b.Execution || st.Last.ID != b.Execution {
		t.Errorf("finished %d, last %d, want %d", st.Finished.ID, st.Last.ID, b.Execution)
	}
}

func TestPreviewETL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.out.relations = []engine.Relation{{Name: "orders"}}
	j := r.etl("orders", berlinETL)
	for _, c := range []struct {
		name string
		in   service.PreviewETL
		rows int
		code holdfast.Code
	}{
		{"an ETL", service.PreviewETL{Job: j.ID, Rows: 5}, 5, ""},
		{"a draft", service.PreviewETL{Definition: berlinETL, Properties: map[string]string{"day": "2"}}, 10, ""},
		{"a draft at a site", service.PreviewETL{Definition: berlinETL, Site: r.sites[1].ID, Rows: 1000}, 1000, ""},
		{"a draft with faults", service.PreviewETL{Definition: "{"}, 0, holdfast.CodeInvalid},
		{"a draft at no site", service.PreviewETL{Definition: berlinETL, Site: unknown}, 0, holdfast.CodeNotFound},
		{"too many rows", service.PreviewETL{Job: j.ID, Rows: 1001}, 0, holdfast.CodeInvalid},
		{"fewer than none", service.PreviewETL{Job: j.ID, Rows: -1}, 0, holdfast.CodeInvalid},
		{"too many properties", service.PreviewETL{Job: j.ID, Properties: manyProperties(65)}, 0, holdfast.CodeInvalid},
	} {
		n := len(r.out.etlCalls)
		got, err := r.svc.PreviewETL(ctx, r.admin, c.in)
		if holdfast.ErrorCode(err) != c.code {
			t.Errorf("%s: got %v, want %q", c.name, err, c.code)
		}
		if err != nil {
			continue
		}
		call := r.out.etlCalls[n]
		if len(got) != 1 || call.rows != c.rows || call.task.Properties["day"] != c.in.Properties["day"] || call.task.Job.ID != c.in.Job {
			t.Errorf("%s: got %+v of %+v, want %d rows", c.name, got, call, c.rows)
		}
		if c.in.Site != 0 && call.task.Site.ID != c.in.Site {
			t.Errorf("%s: got site %d, want %d", c.name, call.task.Site.ID, c.in.Site)
		}
	}
	inBerlin := r.actor(holdfast.RoleAdmin, r.sites[0].ID)
	both := must(r.svc.CreateETL(ctx, r.admin, service.NewETL{Definition: definitionOf("both", "", "paris", "berlin")}))(t)
	_, err := r.svc.PreviewETL(ctx, inBerlin, service.PreviewETL{Job: both.ID})
	wantCode(t, err, holdfast.CodeForbidden)
}

func manyProperties(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprint("p", i)] = ""
	}
	return m
}

func storeFilter(job holdfast.JobID) store.ExecutionFilter { return store.ExecutionFilter{Job: job} }
