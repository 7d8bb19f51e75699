package baas

import (
	"maps"
	"slices"
	"strconv"

	"github.com/holdfast-backup/holdfast"
)

// Restore is one run of a restore with what it was asked for. What stands after
// skipped_objects is ours.
type Restore struct {
	Execution
	Name        string            `json:"name"`
	Settings    JobSettings       `json:"job_settings"`
	Errors      []RestoreError    `json:"errors"`
	Skipped     []Excluded        `json:"skipped_objects"`
	Directory   *string           `json:"target_directory"`
	Host        *string           `json:"target_host"`
	Tablespaces map[string]string `json:"tablespaces"` // directories by OID
}

// RestoreError says what kept a restore from its end. A restore of files fails as
// a whole, so it names no object.
type RestoreError struct {
	ObjectName *string `json:"object_name"`
	ObjectType *string `json:"object_type"`
	Code       string  `json:"code"`
	Message    string  `json:"message"`
}

// Permission says whether the caller may restore.
type Permission struct {
	Has     bool     `json:"has_permission"`
	Missing []string `json:"missing"`
	Status  string   `json:"status"`
}

// Restore returns a restore. j is its job, or one without settings when it is
// gone; spec is where it writes; hosts names the hosts that the caller may see.
func (v View) Restore(e holdfast.Execution, j holdfast.Job, spec holdfast.RestoreSpec, hosts map[holdfast.HostID]string) Restore {
	out := Restore{
		Execution: v.Execution(e), Name: j.Name, Settings: settingsOf(j),
		Errors: []RestoreError{}, Skipped: []Excluded{}, Tablespaces: map[string]string{},
	}
	out.TargetSite = v.targetSite(spec)
	switch e.Outcome {
	case holdfast.OutcomeFailed, holdfast.OutcomeWarning:
		out.Errors = append(out.Errors, RestoreError{Code: string(e.Reason), Message: e.Detail})
	case holdfast.OutcomeNone, holdfast.OutcomeSucceeded, holdfast.OutcomeStopped, holdfast.OutcomeAborted,
		holdfast.OutcomeKilled, holdfast.OutcomeCancelled:
	}
	if spec.Site == 0 {
		out.Directory = &spec.Directory
		if name := hosts[spec.Host]; name != "" {
			out.Host = &name
		}
	}
	for _, oid := range slices.Sorted(maps.Keys(spec.Tablespaces)) {
		out.Tablespaces[strconv.FormatUint(uint64(oid), 10)] = spec.Tablespaces[oid]
	}
	return out
}

// targetSite is the slug of the site that a restore writes to, nil when the
// caller may not see it. One to a directory stays with the set's site.
func (v View) targetSite(spec holdfast.RestoreSpec) *string {
	if spec.Site == 0 || spec.Site == v.Site.ID {
		return &v.Site.Slug
	}
	if slug := v.Targets[spec.Site]; slug != "" {
		return &slug
	}
	return nil
}
