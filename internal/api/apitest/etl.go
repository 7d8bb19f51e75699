package apitest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// etlDefinition is what the world's ETLs do; it lacks its mode.
const etlDefinition = `apiVersion: holdfast/etl/v1
name: orders
parameters:
  region: {type: text}
connections:
  shop: {site: berlin}
extract:
  - {name: orders, connection: shop, table: public.orders}
load:
  - {from: orders, connection: shop, table: mart.orders, mode: replace}
`

// etlService is the mode of those that are services.
const etlService = `mode: service
service: {interval: 30s}
`

// etlCommands returns what a given section may say of ETLs.
func etlCommands() map[string]command {
	return map[string]command{
		"etl":       {1, (*World).makeETL},       // etl berlin orders: a batch
		"service":   {1, (*World).makeService},   // service berlin follow: an ETL that works in rounds
		"period":    {2, (*World).setPeriod},     // period 1001 24h: its stored timing
		"property":  {2, (*World).setProperty},   // property 1001 region north: of its active run configuration
		"configure": {1, (*World).addConfig},     // configure 1001 Test: one more run configuration
		"passive":   {1, (*World).deactivate},    // passive 1001: no run configuration is active
		"disable":   {1, (*World).disableETL},    // disable 1001: the ETL is not active
		"launch":    {1, (*World).launch},        // launch 1001 [region=north]: run, through another API
		"arm":       {1, (*World).arm},           // arm 1001: schedule, through another API
		"halt":      {1, (*World).halt},          // halt 1001: stop, through another API
		"slay":      {1, (*World).slay},          // slay 1001: kill, through another API
		"accesskey": {2, (*World).makeAccessKey}, // accesskey ada operator: a user with one, {access1} and {secret1}
	}
}

func jobNumber(text string) (holdfast.JobID, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	return holdfast.JobID(n), err
}

func (w *World) newETL(ctx context.Context, slug, name, definition string) error {
	site, err := w.Service.SiteBySlug(ctx, w.local, slug)
	if err != nil {
		return err
	}
	_, err = w.Service.CreateETL(ctx, w.local, service.NewETL{
		Site: site.ID, Name: name, Definition: strings.ReplaceAll(definition, "site: berlin", "site: "+slug),
	})
	return err
}

func (w *World) makeETL(ctx context.Context, words []string, name string) error {
	return w.newETL(ctx, words[0], name, etlDefinition)
}

func (w *World) makeService(ctx context.Context, words []string, name string) error {
	return w.newETL(ctx, words[0], name, etlDefinition+etlService)
}

func (w *World) changeETL(ctx context.Context, id string, change func(*holdfast.Job)) error {
	n, err := jobNumber(id)
	if err != nil {
		return err
	}
	_, err = w.Service.UpdateETL(ctx, w.local, n, func(j *holdfast.Job) error {
		change(j)
		return nil
	})
	return err
}

func (w *World) setPeriod(ctx context.Context, words []string, _ string) error {
	period, err := time.ParseDuration(words[1])
	if err != nil {
		return err
	}
	return w.changeETL(ctx, words[0], func(j *holdfast.Job) {
		j.ETL.Recurrence = &holdfast.Recurrence{Start: begin.Truncate(time.Second), Period: period}
	})
}

func (w *World) setProperty(ctx context.Context, words []string, value string) error {
	return w.changeETL(ctx, words[0], func(j *holdfast.Job) {
		c := j.ETL.Active()
		c.Properties = maps.Clone(c.Properties)
		if c.Properties == nil {
			c.Properties = map[string]string{}
		}
		c.Properties[words[1]] = value
	})
}

func (w *World) addConfig(ctx context.Context, words []string, name string) error {
	return w.changeETL(ctx, words[0], func(j *holdfast.Job) {
		j.ETL.Configurations = append(j.ETL.Configurations, holdfast.RunConfiguration{Name: name, Properties: map[string]string{"region": "test"}})
	})
}

func (w *World) deactivate(ctx context.Context, words []string, _ string) error {
	return w.changeETL(ctx, words[0], func(j *holdfast.Job) {
		for i := range j.ETL.Configurations {
			j.ETL.Configurations[i].Active = false
		}
	})
}

func (w *World) disableETL(ctx context.Context, words []string, _ string) error {
	return w.changeETL(ctx, words[0], func(j *holdfast.Job) { j.Active = false })
}

func (w *World) launch(ctx context.Context, words []string, properties string) error {
	id, err := jobNumber(words[0])
	if err != nil {
		return err
	}
	in := service.RunETL{Job: id, Properties: map[string]string{}}
	for pair := range strings.FieldsSeq(properties) {
		name, value, _ := strings.Cut(pair, "=")
		in.Properties[name] = value
	}
	return taken(w.Service.RunETL(ctx, w.local, in))
}

func (w *World) arm(ctx context.Context, words []string, _ string) error {
	id, err := jobNumber(words[0])
	if err != nil {
		return err
	}
	return taken(w.Service.ScheduleETL(ctx, w.local, service.ScheduleETL{RunETL: service.RunETL{Job: id}}))
}

func (w *World) halt(ctx context.Context, words []string, _ string) error {
	id, err := jobNumber(words[0])
	if err != nil {
		return err
	}
	return taken(w.Service.StopETL(ctx, w.local, id))
}

func (w *World) slay(ctx context.Context, words []string, _ string) error {
	id, err := jobNumber(words[0])
	if err != nil {
		return err
	}
	return taken(w.Service.KillETL(ctx, w.local, id))
}

// taken fails when a request was refused.
func taken(a service.ETLAnswer, err error) error {
	if err == nil && a.Refused != "" {
		err = holdfast.Errorf(holdfast.CodeConflict, "refused: %s", a.Refused)
	}
	return err
}

// makeAccessKey makes a user with an access key. Its halves are {access1} and
// {secret1}, those of the next one {access2} and {secret2}.
func (w *World) makeAccessKey(ctx context.Context, words []string, slug string) error {
	in := service.NewUser{Name: words[0], Role: holdfast.Role(words[1])}
	if slug != "" {
		site, err := w.Service.SiteBySlug(ctx, w.local, slug)
		if err != nil {
			return err
		}
		in.Sites = []holdfast.SiteID{site.ID}
	}
	u, err := w.Service.CreateUser(ctx, w.local, in)
	if err != nil {
		return err
	}
	k, secret, err := w.Service.CreateAccessKey(ctx, w.local, service.NewAccessKey{User: u.ID, Name: "night"})
	if err != nil {
		return err
	}
	w.secrets.add("access", string(k.PublicKey))
	w.secrets.add("secret", secret.Reveal())
	return nil
}

func etlLine(s holdfast.ETLSpec) string {
	parts := []string{fmt.Sprintf("service=%v", s.Service)}
	for _, c := range s.Configurations {
		line := fmt.Sprintf("configuration %d %q", c.ID, c.Name)
		if c.Active {
			line += " active"
		}
		parts = append(parts, line+pairs(c.Properties))
	}
	if r := s.Recurrence; r != nil {
		parts = append(parts, fmt.Sprintf("every %s from %s armed=%v", r.Period, r.Start.UTC().Format(time.RFC3339), r.Armed))
	}
	if s.Aborted {
		parts = append(parts, "aborted")
	}
	return strings.Join(parts, " ")
}

func runLine(r holdfast.ETLRun) string {
	line := pairs(r.Properties)
	if len(r.Removed) > 0 {
		line += fmt.Sprintf(" without %v", r.Removed)
	}
	if r.Simulate {
		line += " simulated"
	}
	if r.Version > 0 {
		line += fmt.Sprintf(" version=%d", r.Version)
	}
	return line
}

func pairs(m map[string]string) string {
	var line strings.Builder
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&line, " %s=%q", name, m[name])
	}
	return line.String()
}
