package service

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// defaultConfiguration is the name of an ETL's first run configuration.
const defaultConfiguration = "Default"

// NewETL is an ETL to be made.
type NewETL struct {
	Site        holdfast.SiteID // whose worker runs it; 0: the first that a load names, else the first that an extract names
	Name        string          // empty: as in the definition
	Description string          // empty: as in the definition
	Definition  string          // YAML or JSON
	Priority    holdfast.Priority
	AutoAbort   holdfast.AutoAbort // of a service: ignored
	Properties  map[string]string  // of its first run configuration
}

// CreateETL makes an ETL with one run configuration, which is active. CodeInvalid
// for a definition with faults, CodeNotFound for a site that does not exist,
// CodeConflict for a name that another job of the site has. The credential must
// cover every site that the definition names.
func (s *Service) CreateETL(ctx context.Context, actor holdfast.Actor, in NewETL) (holdfast.Job, error) {
	if err := mayDefine(actor, opCreateETL, in.Site); err != nil {
		return holdfast.Job{}, err
	}
	d, parseErr := definition.Parse([]byte(in.Definition))
	now := s.now()
	var j holdfast.Job
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		if in.Site != 0 {
			if _, err := findSite(ctx, tx, actor, opCreateETL, in.Site); err != nil {
				return err
			}
		}
		if parseErr != nil {
			return parseErr
		}
		j = jobDefaults(holdfast.Job{
			Account: actor.Principal.Account, Site: in.Site, Type: holdfast.JobETL, Engine: holdfast.EngineETL,
			Name: orElse(in.Name, d.Name), Description: orElse(in.Description, d.Description), Active: true,
			Priority: in.Priority, AutoAbort: in.AutoAbort, Created: now,
			ETL: &holdfast.ETLSpec{
				Service: d.Mode == definition.ModeService, Definition: in.Definition,
				Configurations: []holdfast.RunConfiguration{{Name: defaultConfiguration, Active: true, Properties: maps.Clone(in.Properties)}},
			},
		})
		if err := s.checkETL(ctx, tx, actor, d, &j); err != nil {
			return err
		}
		if err := tx.InsertJob(ctx, &j); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, jobWord(j.ID), "etl.created", etlFacts(j))
	})
	if err != nil {
		return holdfast.Job{}, err
	}
	s.cfg.Log.InfoContext(ctx, "ETL created", "job", j.ID, "site", j.Site, "actor", actor.String())
	return j, nil
}

func orElse(s, other string) string {
	if strings.TrimSpace(s) == "" {
		return other
	}
	return s
}

// mayDefine asks for the decision before anything is known of the definition.
// Without a site it is about one of those that the credential covers.
func mayDefine(actor holdfast.Actor, op Operation, site holdfast.SiteID) error {
	if site != 0 {
		return allow(actor, op, target{what: siteWord(site), sites: []holdfast.SiteID{site}})
	}
	return allow(actor, op, target{what: "ETL", sites: actor.Credential.Sites})
}

// checkETL finds the sites that the definition names, gives new run configurations
// their ids, and checks everything about the job.
func (s *Service) checkETL(ctx context.Context, tx store.Tx, actor holdfast.Actor, d *definition.Definition, j *holdfast.Job) error {
	if service := d.Mode == definition.ModeService; service != j.ETL.Service {
		return holdfast.Errorf(holdfast.CodeInvalid, "the mode of ETL %d cannot change to %s", j.ID, d.Mode).WithHint("make another ETL")
	}
	if err := s.placeETL(ctx, tx, actor, d, j); err != nil {
		return err
	}
	for i := range j.ETL.Configurations {
		c := &j.ETL.Configurations[i]
		if c.ID != 0 {
			continue
		}
		var err error
		if c.ID, err = tx.ReserveRunConfigurationID(ctx); err != nil {
			return err
		}
	}
	slices.SortFunc(j.ETL.Configurations, func(a, b holdfast.RunConfiguration) int { return int(a.ID - b.ID) })
	if err := j.Validate(); err != nil {
		return err
	}
	if !slices.Contains(s.cfg.Engines, j.Engine) {
		return errUnknownEngine(j.Engine, s.cfg.Engines)
	}
	return jobNameFree(ctx, tx, *j)
}

// placeETL finds the sites of a job and the one whose worker runs it.
func (s *Service) placeETL(ctx context.Context, r store.Reader, actor holdfast.Actor, d *definition.Definition, j *holdfast.Job) error {
	named, err := connectionSites(ctx, r, actor, d)
	if err != nil {
		return err
	}
	if j.Site == 0 {
		j.Site = firstSite(d, named)
	}
	if j.Site == 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "no load or extract of the definition is at a site").
			WithHint("say at which site the ETL runs: a worker on that site's host reads and writes the files")
	}
	j.ETL.Sites = append(slices.Collect(maps.Values(named)), j.Site)
	slices.Sort(j.ETL.Sites)
	j.ETL.Sites = slices.Compact(j.ETL.Sites)
	return nil
}

// connectionSites finds the site of each connection that names one.
func connectionSites(ctx context.Context, r store.Reader, actor holdfast.Actor, d *definition.Definition) (map[string]holdfast.SiteID, error) {
	named := map[string]holdfast.SiteID{}
	for _, name := range slices.Sorted(maps.Keys(d.Connections)) {
		slug := d.Connections[name].Site
		if slug == "" {
			continue
		}
		site, err := r.SiteBySlug(ctx, actor.Principal.Account, slug)
		switch code := holdfast.ErrorCode(err); {
		case code == holdfast.CodeNotFound, code == "" && !actor.Credential.Covers(site.ID):
			return nil, holdfast.Errorf(holdfast.CodeNotFound, "connection %q names the site %q, which does not exist", name, slug).
				WithHint("create the site, or name another one in the definition")
		case err != nil:
			return nil, err
		}
		named[name] = site.ID
	}
	return named, nil
}

// firstSite returns the first site that a load names, else the first that an
// extract names; 0: none is named.
func firstSite(d *definition.Definition, named map[string]holdfast.SiteID) holdfast.SiteID {
	for _, l := range d.Load {
		if id := named[l.Connection]; id != 0 {
			return id
		}
	}
	for _, e := range d.Extract {
		if id := named[e.Connection]; id != 0 {
			return id
		}
	}
	return 0
}

// etlFacts says what an ETL is, without the values of its properties.
func etlFacts(j holdfast.Job) facts {
	data := jobFacts(j)
	delete(data, "retention")
	delete(data, "repository")
	configurations := make([]facts, len(j.ETL.Configurations))
	for i, c := range j.ETL.Configurations {
		configurations[i] = facts{"id": c.ID, "name": c.Name, "active": c.Active, "properties": slices.Sorted(maps.Keys(c.Properties))}
	}
	data["service"], data["sites"], data["configurations"] = j.ETL.Service, j.ETL.Sites, configurations
	if r := j.ETL.Recurrence; r != nil {
		data["start"], data["period"], data["armed"] = r.Start, r.Period.String(), r.Armed
	}
	return data
}

// findETL returns the ETL job, which is not deleted, when the actor may do op to it.
func findETL(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.JobID) (holdfast.Job, error) {
	j, err := liveJob(ctx, r, actor, op, id)
	if err == nil && j.Type != holdfast.JobETL {
		err = notFound(jobWord(id)) // no ETL has this number
	}
	return j, err
}

// errNotParsed says that a definition is to be read outside of the transaction.
var errNotParsed = errors.New("the definition has changed")

// UpdateETL changes an ETL by mutate, which gets the job as it is and may run more
// than once. Run configurations without an id get one; everything is checked anew,
// and what is planned follows its timing. What [Service.UpdateJob] refuses to
// change, and whether it is a service, cannot change: CodeInvalid. The credential
// must cover every site that the definition names. An error of mutate's is returned
// as it is, and nothing changes.
func (s *Service) UpdateETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, mutate func(*holdfast.Job) error) (holdfast.Job, error) {
	parsed := map[string]*definition.Definition{}
	for try := 1; ; try++ {
		var text, before string
		t := &turn{now: s.now()}
		err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
			*t = turn{now: t.now, by: actor.String()}
			old, err := findETL(ctx, tx, actor, opUpdateETL, id)
			if err != nil {
				return err
			}
			t.job = cloneJob(old)
			if err := changeETL(old, &t.job, mutate); err != nil {
				return err
			}
			text = t.job.ETL.Definition
			d := parsed[text]
			if d == nil {
				return errNotParsed
			}
			if before = old.ETL.Definition; d.Name != t.job.Name && before != text {
				was, ok := parsed[before]
				if text = before; !ok {
					return errNotParsed
				}
				if was == nil || was.Name != d.Name {
					return errOtherETL(d.Name, t.job)
				}
			}
			return s.updateETL(ctx, tx, actor, old, d, t)
		})
		switch {
		case errors.Is(err, errNotParsed) && try <= wishTries:
			d, err := definition.Parse([]byte(text))
			if parsed[text] = d; err != nil && text != before {
				return holdfast.Job{}, err
			}
		case holdfast.ErrorCode(err) == holdfast.CodeConflict && try < wishTries && t.raced:
		case err != nil:
			return holdfast.Job{}, err
		default:
			s.tellOf(ctx, t)
			s.cfg.Log.InfoContext(ctx, "ETL updated", "job", t.job.ID, "site", t.job.Site, "actor", actor.String())
			return t.job, nil
		}
	}
}

// errOtherETL says that a definition is that of another ETL by its name: it would load
// other rows, and go on at the counters of flows that have the same names.
func errOtherETL(name string, j holdfast.Job) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "the definition is of the name %q, and the ETL is %q", name, j.Name).
		WithHint("name the ETL that it is of; if it is this one, write name: %s into the definition", j.Name)
}

// MayWriteETL tells whether the actor may write an ETL that it sees: nil, or
// CodeForbidden. Its secrets are seen, given and compared by those alone.
func MayWriteETL(actor holdfast.Actor, j holdfast.Job) error {
	if err := allow(actor, opUpdateETL, target{what: jobWord(j.ID), sites: []holdfast.SiteID{j.Site}}); err != nil {
		return err
	}
	return coversAll(actor, opUpdateETL, j)
}

// coversAll refuses a credential that is not for every site of an ETL, but to read.
func coversAll(actor holdfast.Actor, op Operation, j holdfast.Job) error {
	if j.ETL == nil || rules[op].role == holdfast.RoleReader {
		return nil
	}
	if slices.ContainsFunc(j.ETL.Sites, func(id holdfast.SiteID) bool { return !actor.Credential.Covers(id) }) {
		return holdfast.Errorf(holdfast.CodeForbidden, "the definition names sites that the token is not for").
			WithHint("use a token that covers every site of the ETL")
	}
	return nil
}

// changeETL lets mutate change a copy of an ETL, and refuses what cannot change.
func changeETL(old holdfast.Job, j *holdfast.Job, mutate func(*holdfast.Job) error) error {
	if err := mutate(j); err != nil {
		return err
	}
	if err := sameJob(old, *j); err != nil {
		return err
	}
	if j.ETL == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "an ETL job needs a definition")
	}
	j.ETL.Service, j.ETL.Aborted, j.ETL.Scheduled = old.ETL.Service, old.ETL.Aborted, old.ETL.Scheduled
	if r := j.ETL.Recurrence; r != nil {
		whole := *r
		whole.Start = r.Start.Truncate(time.Second) // as it is shown, and written back
		j.ETL.Recurrence = &whole
	}
	for _, c := range j.ETL.Configurations {
		known := func(o holdfast.RunConfiguration) bool { return o.ID == c.ID }
		if c.ID != 0 && !slices.ContainsFunc(old.ETL.Configurations, known) {
			return holdfast.Errorf(holdfast.CodeInvalid, "run configuration %d is not one of job %d", c.ID, old.ID).
				WithHint("leave its number out to add one")
		}
	}
	*j = jobDefaults(*j)
	return nil
}

// updateETL writes a changed ETL.
func (s *Service) updateETL(ctx context.Context, tx store.Tx, actor holdfast.Actor, old holdfast.Job, d *definition.Definition, t *turn) error {
	if err := s.checkETL(ctx, tx, actor, d, &t.job); err != nil {
		return err
	}
	if err := tx.UpdateJob(ctx, t.job); err != nil {
		return err
	}
	if err := t.read(ctx, tx); err != nil {
		return err
	}
	if err := t.replan(ctx, tx, old.ETL.Recurrence, actor.Principal.Name); err != nil {
		return err
	}
	if t.job.Active != old.Active {
		if err := replanSchedules(ctx, tx, actor, t.job, t.now); err != nil {
			return err
		}
	}
	data := etlFacts(t.job)
	data["definition_changed"] = old.ETL.Definition != t.job.ETL.Definition
	if changes := configurationChanges(old.ETL.Configurations, t.job.ETL.Configurations); len(changes) > 0 {
		data["changes"] = changes
	}
	return record(ctx, tx, actor, t.now, jobWord(old.ID), "etl.updated", data)
}

// replan lets what is planned follow a changed recurrence.
func (t *turn) replan(ctx context.Context, tx store.Tx, old *holdfast.Recurrence, by string) error {
	armed := func(r *holdfast.Recurrence) bool { return r != nil && r.Armed }
	now := t.job.ETL.Recurrence
	switch {
	case armed(now) && armed(old) && now.Period == old.Period && now.Start.Unix() == old.Start.Unix():
		return nil
	case armed(now) && len(t.planned) > 0:
		_, err := t.moveDue(ctx, tx, t.planned[0], now.Next(t.now))
		return err
	case armed(now):
		_, err := t.plan(ctx, tx, t.job.ETL.RunOf(nil, nil, false), now.Next(t.now), by)
		return err
	case armed(old):
		return t.cancel(ctx, tx, t.planned, holdfast.MoveStop)
	}
	return nil
}

// ETLFilter selects ETLs; the zero value selects all.
type ETLFilter struct {
	// Properties are names and values that the active run configuration has; of
	// several each, or with Any one. A secret of an ETL that the actor may not write
	// is not compared: the answer would tell whether a guess is right.
	Properties map[string]string
	Any        bool
}

// takes reports whether the filter selects a job of a list, whose secrets are sealed.
func (f ETLFilter) takes(actor holdfast.Actor, j holdfast.Job, s Sealer) bool {
	if len(f.Properties) == 0 {
		return true
	}
	c := j.ETL.Active()
	if c == nil {
		return false
	}
	for name, want := range f.Properties {
		got, ok := c.Properties[name]
		if holdfast.SecretProperty(name) && MayWriteETL(actor, j) != nil {
			ok = false
		} else if b, sealed := c.Sealed[name]; sealed {
			secret, err := s.Open(b)
			got, ok = secret.Reveal(), err == nil // what cannot be opened is not known to be equal
		}
		if (ok && got == want) == f.Any {
			return f.Any
		}
	}
	return !f.Any
}

// ETLs lists the ETLs of the sites that the credential covers, by id, and says how
// many there are without the page. Their definitions and annotations are left out.
// The jobs are shared: nobody changes them, or what is in them.
func (s *Service) ETLs(ctx context.Context, actor holdfast.Actor, f ETLFilter, p store.Page) ([]holdfast.Job, int, error) {
	if err := allow(actor, opETLs, account()); err != nil {
		return nil, 0, err
	}
	if err := checkPage(p); err != nil {
		return nil, 0, err
	}
	var list []holdfast.Job
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		all, err := r.ETLs(ctx, actor.Principal.Account)
		list = all
		if bound(actor) || len(f.Properties) > 0 {
			list = those(all, func(j holdfast.Job) bool { return actor.Credential.Covers(j.Site) && f.takes(actor, j, s.cfg.Sealer) })
		}
		return err
	})
	total := len(list)
	list = list[min(p.Offset, total):]
	if p.Limit > 0 {
		list = list[:min(p.Limit, len(list))]
	}
	return list, total, err
}
