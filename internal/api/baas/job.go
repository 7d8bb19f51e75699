package baas

// Job is an item of the list of jobs. Only a dialect whose paths name an account
// has account_id.
type Job struct {
	SiteID         string        `json:"site_id"`
	AutoAbort      int64         `json:"auto_abort_in_minutes"`
	BackupType     string        `json:"backup_type"`
	Description    string        `json:"description"`
	Active         bool          `json:"is_active"`
	AutoAbortOn    bool          `json:"is_auto_abort_active"`
	JobID          int64         `json:"job_id"`
	JobType        string        `json:"job_type"`
	Last           LastExecution `json:"last_execution_details"`
	Name           string        `json:"name"`
	NextRun        *string       `json:"next_run_time"`
	Retention      int           `json:"no_of_retention_copies"`
	Priority       int           `json:"priority"`
	SiteTargetType *string       `json:"siteTargetType"`
	Mechanism      string        `json:"backup_mechanism"`
	Target         TargetSite    `json:"targetSiteDetails"`
	Account        string        `json:"account_id,omitempty"`
}

// JobDetail is one job. Its keys are in another order than those of [Job]: each
// sample has its own.
type JobDetail struct {
	SiteID         string        `json:"site_id"`
	AutoAbort      int64         `json:"auto_abort_in_minutes"`
	BackupType     string        `json:"backup_type"`
	Description    string        `json:"description"`
	Settings       JobSettings   `json:"job_settings"`
	Active         bool          `json:"is_active"`
	AutoAbortOn    bool          `json:"is_auto_abort_active"`
	JobID          int64         `json:"job_id"`
	JobType        string        `json:"job_type"`
	Last           LastExecution `json:"last_execution_details"`
	Name           string        `json:"name"`
	NextRun        *string       `json:"next_run_time"`
	Retention      int           `json:"no_of_retention_copies"`
	SiteTargetType *string       `json:"siteTargetType"`
	Target         TargetSite    `json:"targetSiteDetails"`
	Priority       int           `json:"priority"`
	Mechanism      string        `json:"backup_mechanism"`
	Account        string        `json:"account_id,omitempty"`
}

// JobSettings is what a job takes and how.
type JobSettings struct {
	Online            bool     `json:"online"`
	Objects           []Object `json:"objects"`
	ContinueOnRights  bool     `json:"continue_job_on_access_right_violation"`
	RunAsCopy         bool     `json:"run_as_a_copy_job"`
	DifferentDatabase *string  `json:"restore_to_a_different_database_on_target_site"`
	SkipStatistics    bool     `json:"skip_statstics"` // misspelt in every document
	RetainedCopy      *string  `json:"retained_copy"`
	SkipIndexes       *bool    `json:"skip_join_or_hash_indexes,omitempty"` // only on RESTORE jobs that set it
}

// Object is a thing that a job takes.
type Object struct {
	Exclude    []Excluded `json:"exclude_objects"`
	IncludeAll bool       `json:"include_all"`
	Name       string     `json:"object_name"`
	Type       string     `json:"object_type"`
	ParentName *string    `json:"parent_name"`
	ParentType *string    `json:"parent_type"`
	RenameTo   *string    `json:"rename_to"`
}

// Excluded is a thing inside an Object that a job leaves out.
type Excluded struct {
	Name string `json:"object_name"`
	Type string `json:"object_type"`
}

// LastExecution is the newest run of a job. The ids are numbers here and strings
// in [Execution].
type LastExecution struct {
	End              *string `json:"end_time"`
	Start            *string `json:"start_time"`
	Status           *string `json:"status"`
	Size             int64   `json:"backup_set_size"` // bytes
	Job              int64   `json:"backup_job_id"`
	Execution        int64   `json:"backup_job_execution_id"`
	RestoreExecution int64   `json:"restore_execution_id"`
}

// TargetSite is where copies are replicated to.
type TargetSite struct {
	Site            *string `json:"target_site_id"`
	RetentionCopies int64   `json:"target_retention_copies_count"`
	RetentionSource *string `json:"target_retention_source"`
}

// Site is an item of the list of sites; its shape is ours.
type Site struct {
	SiteID   string  `json:"site_id"`
	SiteName string  `json:"site_name"`
	SiteType *string `json:"site_type"`
}
