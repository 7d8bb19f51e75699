package baas

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// MaxRetention bounds no_of_retention_copies: the console's documented range.
const MaxRetention = 30

// Input is a request to create, replace or patch a job.
type Input struct {
	tree  Tree
	words Words
}

// NewInput takes the object of a request. words are the dialect's settings.
func NewInput(t Tree, words Words) (Input, error) {
	if err := canonical(t); err != nil {
		return Input{}, err
	}
	return Input{t, words}, nil
}

// New returns the job that the request describes, on the site.
func (in Input) New(site holdfast.SiteID) (holdfast.Job, error) {
	j := holdfast.Job{Site: site, Type: holdfast.JobBackup, Engine: holdfast.EnginePhysical}
	r := reader{}
	top := r.object("", map[string]any(in.tree))
	if t := strings.TrimSpace(r.textOf(top, "job_type")); strings.EqualFold(t, string(holdfast.JobRestore)) {
		return holdfast.Job{}, holdfast.Errorf(holdfast.CodeInvalid, "a RESTORE job is not made by this call").
			WithHint("restore a backup set with: holdfast restore")
	}
	if r.err != nil {
		return holdfast.Job{}, r.err
	}
	return j, in.Replace(&j)
}

// Replace makes the job what the request describes; what the request leaves out
// gets its default. What this dialect does not show stays: engine,
// repository, unit of retention, a restore's target.
func (in Input) Replace(j *holdfast.Job) error { return in.apply(in.tree, j) }

// Patch merges the request into the job (RFC 7396).
func (in Input) Patch(j *holdfast.Job) error {
	now, err := document(*j, in.words)
	if err != nil {
		return err
	}
	return in.apply(Merge(now, in.tree), j)
}

// document is the job as a client sees it.
func document(j holdfast.Job, words Words) (Tree, error) {
	b, err := json.Marshal(struct {
		AutoAbort   int64       `json:"auto_abort_in_minutes"`
		Description string      `json:"description"`
		Settings    JobSettings `json:"job_settings"`
		Active      bool        `json:"is_active"`
		AutoAbortOn bool        `json:"is_auto_abort_active"`
		JobType     string      `json:"job_type"`
		Name        string      `json:"name"`
		Retention   int         `json:"no_of_retention_copies"`
		Target      TargetSite  `json:"targetSiteDetails"`
		Priority    int         `json:"priority"`
		Mechanism   string      `json:"backup_mechanism"`
	}{
		int64(j.AutoAbort.After / time.Minute), j.Description, settingsOf(j), j.Active, j.AutoAbort.Active,
		string(j.Type), j.Name, j.Retention.Count, extrasOf(j).Target, int(j.Priority), words.mechanism(),
	})
	if err != nil {
		return nil, fmt.Errorf("encode job %d: %w", j.ID, err)
	}
	return ParseTree(b)
}

// apply reads the whole document before it changes the job.
func (in Input) apply(doc Tree, j *holdfast.Job) error {
	r := reader{}
	top := r.object("", map[string]any(doc))
	out := *j
	out.Name = strings.TrimSpace(r.textOf(top, "name"))
	out.Description = r.textOf(top, "description")
	out.Active = r.flag(top, "is_active", true)
	priority := r.number(top, "priority", int64(holdfast.DefaultPriority))
	retention := r.number(top, "no_of_retention_copies", holdfast.DefaultRetention)
	minutes := r.number(top, "auto_abort_in_minutes", 0)
	out.AutoAbort.Active = r.flag(top, "is_auto_abort_active", false)
	in.words.checkWords(&r, top, j.Type)
	ex := readExtras(&r, top, *j)
	if r.err != nil {
		return r.err
	}
	if minutes < 0 || minutes > holdfast.MaxAutoAbort {
		return holdfast.Errorf(holdfast.CodeInvalid, "auto_abort_in_minutes %d is out of range", minutes).
			WithHint("use 0 to %d", holdfast.MaxAutoAbort)
	}
	if priority < int64(holdfast.HighestPriority) || priority > int64(holdfast.LowestPriority) {
		return holdfast.Errorf(holdfast.CodeInvalid, "priority %d is out of range", priority).
			WithHint("use %d (highest) to %d (lowest)", holdfast.HighestPriority, holdfast.LowestPriority)
	}
	// What another API has set may stay.
	if kept := j.ID != 0 && retention == int64(j.Retention.Count); j.Type == holdfast.JobBackup && !kept {
		if limit := in.words.maxRetention(); retention < 1 || retention > int64(limit) {
			return holdfast.Errorf(holdfast.CodeInvalid, "no_of_retention_copies %d is out of range", retention).
				WithHint("use 1 to %d", limit)
		}
		out.Retention.Count = int(retention)
	}
	out.Priority = holdfast.Priority(priority)
	out.AutoAbort.After = time.Duration(minutes) * time.Minute
	if err := ex.keep(&out); err != nil {
		return err
	}
	*j = out
	return nil
}

// checkWords checks the keys with fixed words that a request may name and
// cannot change.
func (w Words) checkWords(r *reader, top node, now holdfast.JobType) {
	if s := r.text(top, "job_type"); s != nil && r.err == nil {
		switch t := strings.ToUpper(strings.TrimSpace(*s)); t {
		case "", string(now):
		case string(holdfast.JobBackup), string(holdfast.JobRestore):
			r.err = holdfast.Errorf(holdfast.CodeInvalid, "the type of a job does not change: it is %s", now).WithHint("create another job")
		default:
			r.err = holdfast.Errorf(holdfast.CodeInvalid, "job_type %s is not offered", quote(*s)).WithHint("use BACKUP")
		}
	}
	if s := r.text(top, "backup_type"); s != nil && r.err == nil {
		if t := strings.ToUpper(strings.TrimSpace(*s)); t != "" && t != backupFull {
			r.err = holdfast.Errorf(holdfast.CodeInvalid, "backup_type %s is not offered", quote(*s)).WithHint("use FULL")
		}
	}
	if s := r.text(top, "backup_mechanism"); s != nil && r.err == nil {
		t := strings.ToUpper(strings.TrimSpace(*s))
		if t != "" && t != DefaultMechanism && t != strings.ToUpper(w.mechanism()) {
			r.err = holdfast.Errorf(holdfast.CodeInvalid, "backup_mechanism %s is not offered", quote(*s)).WithHint("use %s", w.mechanism())
		}
	}
}
