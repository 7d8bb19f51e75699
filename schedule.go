package holdfast

import "time"

// ScheduleID numbers schedules.
type ScheduleID int64

// Schedule says when a job runs, and with which run type. A job may have
// several.
type Schedule struct {
	ID         ScheduleID
	Account    AccountID
	Job        JobID
	Expression string  // as internal/cron reads it
	TimeZone   string  // IANA name
	RunType    RunType // empty for an ETL
	Active     bool
	// NextRun is when it makes the next execution; zero while the schedule or its
	// job is not active, and after the last run.
	NextRun time.Time
	Created time.Time
	Changed time.Time // by a person; what fires leaves it
}

// MaxSchedules bounds the schedules of a job.
const MaxSchedules = 100
