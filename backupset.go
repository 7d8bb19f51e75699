package holdfast

import "time"

// SetID numbers backup sets.
type SetID int64

// BackupSet is what one good backup left: the unit of restore. It is owned by
// the site; the job that made it may be gone.
type BackupSet struct {
	ID        SetID
	Account   AccountID
	Site      SiteID
	Job       JobID
	Execution ExecutionID
	Parent    SetID // the set before it in its chain; zero for a FULL. A record, not a dependency
	Engine    Engine
	RunType   RunType
	Started   time.Time // by the database server's clock
	Stopped   time.Time // by the database server's clock
	Bytes     int64     // size of what it restores to
	Added     int64     // bytes it added to the repository
	Damaged   string    // what is damaged in it, in words; empty: nothing known
	Protected bool      // retention leaves it alone
	Physical  PhysicalFacts
	Created   time.Time
}

// PhysicalFacts is what a physical set says of its cluster.
type PhysicalFacts struct {
	SystemIdentifier uint64       `json:"system_identifier,string"` // text in JSON: not every reader's numbers have 64 bits
	Version          int          `json:"version"`                  // server_version_num
	Timeline         uint32       `json:"timeline"`
	StartLSN         uint64       `json:"start_lsn,string"`
	StopLSN          uint64       `json:"stop_lsn,string"`
	Tablespaces      []Tablespace `json:"tablespaces,omitempty"`
}

// Tablespace is one tablespace of a cluster.
type Tablespace struct {
	OID  uint32 `json:"oid"`
	Path string `json:"path"` // on the source; empty for an in-place tablespace
}
