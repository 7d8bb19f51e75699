package baas

// Execution is one run of a job.
type Execution struct {
	SiteID            string  `json:"site_id"`
	TargetSite        *string `json:"target_site"`
	JobID             int64   `json:"job_id"`
	JobName           string  `json:"job_name"`
	Mechanism         string  `json:"backup_mechanism"`
	JobType           string  `json:"job_type"`
	ExecutionID       string  `json:"execution_id"`
	ExecutionName     *string `json:"execution_name"`
	Start             *string `json:"start_time"`
	End               *string `json:"end_time"`
	Size              int64   `json:"backup_set_size"` // bytes
	ServerExecutionID *string `json:"server_execution_id"`
	Parent            *string `json:"parent_execution_id"`
	Status            string  `json:"status"`
	Replication       *string `json:"saveset_replication_status"`
	Retained          bool    `json:"is_saveset_retained"` // protected
	Deleted           bool    `json:"is_saveset_deleted"`
	Saveset           int64   `json:"saveset_id"`
	RunType           *string `json:"run_type"`
	SiteType          *string `json:"site_type"`
	Detail            *string `json:"status_detail"`
}
