package holdfast

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// JobID numbers jobs.
type JobID int64

// JobType is what a job does.
type JobType string

// The job types.
const (
	JobBackup  JobType = "BACKUP"
	JobRestore JobType = "RESTORE"
	JobETL     JobType = "ETL"
)

// Engine names the code that does a job's work on a worker.
type Engine string

// EnginePhysical copies and restores the files of a whole cluster.
const EnginePhysical Engine = "pgphysical"

// RunType is how much a backup takes, by what it builds on.
type RunType string

// The run types. Every set restores alone, whatever its run type.
const (
	RunFull       RunType = "FULL"
	RunDelta      RunType = "DELTA"      // since the last backup
	RunCumulative RunType = "CUMULATIVE" // since the last full
)

// ParseRunType reads a run type in any case; INCREMENTAL means DELTA and
// DIFFERENTIAL means CUMULATIVE, as other tools call them.
func ParseRunType(s string) (RunType, error) {
	switch strings.ToUpper(strings.TrimSpace(s)) {
	case "FULL":
		return RunFull, nil
	case "DELTA", "INCREMENTAL":
		return RunDelta, nil
	case "CUMULATIVE", "DIFFERENTIAL":
		return RunCumulative, nil
	}
	return "", Errorf(CodeInvalid, "run type %q is unknown", s).WithHint("use FULL, DELTA or CUMULATIVE")
}

// Limits of a job's fields.
const (
	MaxJobName       = 128         // characters
	MaxDescription   = 4096        // characters
	MaxAutoAbort     = 10080       // minutes: a week
	MaxAnnotations   = 1 << 20     // bytes, all together
	HighestPriority  = Priority(1) // runs first
	LowestPriority   = Priority(5)
	DefaultPriority  = LowestPriority
	DefaultAttempts  = 5                // starts lost to silence before an execution fails
	DefaultRetries   = 5                // transient failures before an execution fails
	DefaultHandBacks = 20               // hand-backs by draining workers before an execution fails
	SilenceLimit     = 10 * time.Second // without a beat, before an execution moves on
	KillLimit        = 10 * time.Second // without a confirmation, before a kill is decided
	BeatInterval     = 3 * time.Second
	CallerSecretLife = 24 * time.Hour
)

// Priority orders executions that are due: 1 is taken first, 5 last.
type Priority int

// AutoAbort ends an execution that has been running for too long. The clock
// starts when it first runs.
type AutoAbort struct {
	Active bool
	After  time.Duration // whole minutes; 0: never
}

// Job says what to do with a site.
type Job struct {
	ID          JobID
	Account     AccountID
	Site        SiteID
	Type        JobType
	Engine      Engine
	Name        string // unique in the site
	Description string
	Active      bool // schedules of an inactive job do not run; manual runs do
	Priority    Priority
	Repository  RepositoryID // zero: the site's default
	Retention   Retention
	AutoAbort   AutoAbort
	Restore     *RestoreSpec // for JobRestore
	ETL         *ETLSpec     // for JobETL
	// Annotations holds what a dialect stores and echoes and nobody else reads,
	// by the dialect's name.
	Annotations map[string]json.RawMessage
	Created     time.Time
	Deleted     time.Time // zero: not deleted; a deleted job keeps its history
}

// RestoreSpec says what a restore writes, and where.
type RestoreSpec struct {
	Set       SetID  `json:"set"`
	Host      HostID `json:"host"`      // whose worker writes
	Directory string `json:"directory"` // the new data directory: absolute, below an allowed root, empty or missing unless Site or Delta say otherwise
	// Site is set for a restore in place: the directory is this site's data
	// directory, its server must not run, and what is there is moved aside first.
	Site        SiteID            `json:"site,omitempty"`
	Tablespaces map[uint32]string `json:"tablespaces,omitempty"`
	// Configuration is true when files that the source kept outside its data
	// directory are put into the new one.
	Configuration bool `json:"configuration,omitempty"`
	// Delta lets the restore write over a stopped copy of the same cluster: what is
	// right there stays, what does not belong there is removed. Not in place.
	Delta bool `json:"delta,omitempty"`
	// Repository is where the copy to read is; zero: wherever the best one is.
	Repository RepositoryID `json:"repository,omitempty"`
}

// Validate checks the paths. Two paths may not lie inside each other: the data
// directory's and every tablespace's are separate trees.
func (r RestoreSpec) Validate() error {
	if r.Delta && r.Site != 0 {
		return Errorf(CodeInvalid, "a delta restore is not done in place").
			WithHint("restore in place without it: what is there is kept then; or name the directory")
	}
	if err := CleanAbs("target directory", r.Directory); err != nil {
		return err
	}
	paths := []string{r.Directory}
	oids := make([]uint32, 0, len(r.Tablespaces))
	for oid := range r.Tablespaces {
		oids = append(oids, oid)
	}
	slices.Sort(oids)
	for _, oid := range oids {
		p := r.Tablespaces[oid]
		if err := CleanAbs("tablespace directory", p); err != nil {
			return err
		}
		for _, q := range paths {
			if p == q || strings.HasPrefix(p, q+"/") || strings.HasPrefix(q, p+"/") {
				return Errorf(CodeInvalid, "directories %s and %s lie inside each other", q, p).
					WithHint("give the data directory and each tablespace a directory of its own")
			}
		}
		paths = append(paths, p)
	}
	return nil
}

// Validate checks everything that can be checked without the store.
func (j Job) Validate() error {
	switch n := len([]rune(j.Name)); {
	case n == 0 || strings.TrimSpace(j.Name) == "":
		return Errorf(CodeInvalid, "the job's name is missing")
	case n > MaxJobName:
		return Errorf(CodeInvalid, "the job's name has %d characters", n).WithHint("use at most %d", MaxJobName)
	case strings.ContainsFunc(j.Name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return Errorf(CodeInvalid, "the job's name holds a control character")
	}
	if n := len([]rune(j.Description)); n > MaxDescription {
		return Errorf(CodeInvalid, "the job's description has %d characters", n).WithHint("use at most %d", MaxDescription)
	}
	if j.Priority < HighestPriority || j.Priority > LowestPriority {
		return Errorf(CodeInvalid, "priority %d is out of range", j.Priority).
			WithHint("use %d (highest) to %d (lowest)", HighestPriority, LowestPriority)
	}
	if j.AutoAbort.After < 0 || j.AutoAbort.After > MaxAutoAbort*time.Minute || j.AutoAbort.After%time.Minute != 0 {
		return Errorf(CodeInvalid, "auto-abort after %s is out of range", j.AutoAbort.After).
			WithHint("use whole minutes, 0 to %d", MaxAutoAbort)
	}
	n := 0
	for _, a := range j.Annotations {
		n += len(a)
	}
	if n > MaxAnnotations {
		return Errorf(CodeInvalid, "the job's settings take %d bytes", n).WithHint("keep them below %d", MaxAnnotations)
	}
	switch j.Type {
	case JobBackup:
		return j.Retention.Validate()
	case JobRestore:
		if j.Restore == nil {
			return Errorf(CodeInvalid, "a restore job needs a backup set and a directory")
		}
		return j.Restore.Validate()
	case JobETL:
		if j.ETL == nil {
			return Errorf(CodeInvalid, "an ETL job needs a definition")
		}
		if !slices.Contains(j.ETL.Sites, j.Site) {
			return Errorf(CodeInvalid, "the site of an ETL job is not one of its sites").WithHint("run it at one of the sites %v", j.ETL.Sites)
		}
		return j.ETL.Validate()
	}
	return Errorf(CodeInvalid, "job type %q is unknown", j.Type).WithHint("use BACKUP, RESTORE or ETL")
}
