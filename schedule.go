package holdfast

import "time"

// ScheduleID numbers schedules.
type ScheduleID int64

// Schedule says when a job runs, and with which run type.
type Schedule struct {
	ID         ScheduleID
	Account    AccountID
	Job        JobID
	Expression string // five-field cron
	TimeZone   string // IANA name
	RunType    RunType
	Active     bool
	NextRun    time.Time // zero: none
	Created    time.Time
}
