package baas

import (
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// annotation is the key under which both Teradata dialects keep, in a job, what
// only they know.
const annotation = "teradata"

// extras is what only the Teradata dialects know of a job.
type extras struct {
	Settings JobSettings `json:"job_settings"`
	Target   TargetSite  `json:"targetSiteDetails"`
}

// extrasOf reads what is kept in the job. What another program has put there and
// we cannot read counts as absent.
func extrasOf(j holdfast.Job) extras {
	var ex extras
	if err := json.Unmarshal(j.Annotations[annotation], &ex); err != nil {
		ex = extras{}
	}
	if ex.Settings.Objects == nil {
		ex.Settings.Objects = []Object{}
	}
	for i := range ex.Settings.Objects {
		if ex.Settings.Objects[i].Exclude == nil {
			ex.Settings.Objects[i].Exclude = []Excluded{}
		}
	}
	return ex
}

// settingsOf is the settings as a client sees them.
func settingsOf(j holdfast.Job) JobSettings {
	s := extrasOf(j).Settings
	s.RetainedCopy = nil
	if j.Restore != nil && j.Restore.Set != 0 {
		id := ID(j.Restore.Set)
		s.RetainedCopy = &id
	}
	return s
}

// keep puts the extras into the job, and nothing when they say nothing.
func (ex extras) keep(j *holdfast.Job) error {
	notes := maps.Clone(j.Annotations)
	if notes == nil {
		notes = map[string]json.RawMessage{}
	}
	delete(notes, annotation)
	if !ex.empty() {
		b, err := json.Marshal(ex)
		if err != nil {
			return fmt.Errorf("encode settings of job %d: %w", j.ID, err)
		}
		notes[annotation] = b
	}
	if len(notes) == 0 {
		notes = nil
	}
	j.Annotations = notes
	return nil
}

func (ex extras) empty() bool {
	s, t := ex.Settings, ex.Target
	return len(s.Objects) == 0 && !s.Online && !s.ContinueOnRights && !s.RunAsCopy && s.DifferentDatabase == nil &&
		!s.SkipStatistics && s.SkipIndexes == nil && t.Site == nil && t.RetentionCopies == 0 && t.RetentionSource == nil
}

// readExtras reads job_settings and targetSiteDetails. What belongs to restores
// is ignored on a backup job.
func readExtras(r *reader, top node, j holdfast.Job) extras {
	ex := extras{Settings: readSettings(r, top, j.Type == holdfast.JobRestore)}
	if j.Type == holdfast.JobRestore {
		checkRetainedCopy(r, r.child(top, settingsKey), j)
	}
	t := r.child(top, targetKey)
	ex.Target = TargetSite{
		Site:            filled(r.text(t, "target_site_id")),
		RetentionCopies: r.number(t, "target_retention_copies_count", 0),
		RetentionSource: filled(r.text(t, "target_retention_source")),
	}
	if ex.Target.RetentionCopies < 0 && r.err == nil {
		r.err = holdfast.Errorf(holdfast.CodeInvalid, "target_retention_copies_count %d is negative", ex.Target.RetentionCopies)
	}
	return ex
}

// readSettings reads job_settings, all but retained_copy.
func readSettings(r *reader, top node, restore bool) JobSettings {
	n := r.child(top, settingsKey)
	s := JobSettings{
		Online:           r.flag(n, "online", false),
		Objects:          readObjects(r, n, restore),
		ContinueOnRights: r.flag(n, continueKey, false),
		SkipStatistics:   r.flag(n, statsKey, false),
	}
	if restore {
		s.RunAsCopy = r.flag(n, copyKey, false)
		s.DifferentDatabase = readDatabase(r, n)
		if n.m[indexesKey] != nil {
			skip := r.flag(n, indexesKey, false)
			s.SkipIndexes = &skip
		}
	}
	return s
}

// checkRetainedCopy lets a restore job's set be named, and not changed.
func checkRetainedCopy(r *reader, n node, j holdfast.Job) {
	s := filled(r.text(n, retainedKey))
	if s == nil || r.err != nil {
		return
	}
	if id, err := strconv.ParseInt(*s, 10, 64); err != nil || j.Restore == nil || holdfast.SetID(id) != j.Restore.Set {
		r.err = holdfast.Errorf(holdfast.CodeInvalid, "the retained_copy of a RESTORE job does not change").
			WithHint("make another restore")
	}
}

// readDatabase reads a key that sounds like a flag and holds a name.
func readDatabase(r *reader, n node) *string {
	switch v := n.m[databaseKey].(type) {
	case bool:
		if v && r.err == nil {
			r.err = holdfast.Errorf(holdfast.CodeInvalid, "%s.%s is true, but it holds the name of a database", settingsKey, databaseKey).
				WithHint("give the name of the database, or null")
		}
		return nil
	default:
		return filled(r.text(n, databaseKey))
	}
}

func readObjects(r *reader, n node, restore bool) []Object {
	objects := []Object{}
	for _, item := range r.list(n, objectsKey) {
		o := Object{
			Exclude:    []Excluded{},
			IncludeAll: r.flag(item, "include_all", false),
			Name:       readName(r, item),
			Type:       objectType(r, item),
			ParentName: filled(r.text(item, "parent_name")),
			ParentType: upper(filled(r.text(item, "parent_type"))),
		}
		if restore {
			o.RenameTo = filled(r.text(item, "rename_to"))
		}
		for _, e := range r.list(item, excludeKey) {
			o.Exclude = append(o.Exclude, Excluded{readName(r, e), objectType(r, e)})
		}
		objects = append(objects, o)
	}
	return objects
}

func readName(r *reader, n node) string {
	s := r.textOf(n, "object_name")
	if strings.TrimSpace(s) == "" && r.err == nil {
		r.err = holdfast.Errorf(holdfast.CodeInvalid, "%s is missing", join(n.path, "object_name"))
	}
	return s
}

// objectType reads a type in any case; unknown ones are stored and shown, for
// the list of types is open.
func objectType(r *reader, n node) string {
	if s := upper(filled(r.text(n, "object_type"))); s != nil {
		return *s
	}
	return "DATABASE"
}

// filled is nil for text that says nothing.
func filled(s *string) *string {
	if s == nil || strings.TrimSpace(*s) == "" {
		return nil
	}
	return s
}

func upper(s *string) *string {
	if s == nil {
		return nil
	}
	u := strings.ToUpper(strings.TrimSpace(*s))
	return &u
}
