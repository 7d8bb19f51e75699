package holdfast

import "time"

// HostID numbers hosts.
type HostID int64

// Host is a machine that sites stand on. The workers that stand on it are named
// by [Worker.Hosts]: only they may touch its directories.
type Host struct {
	ID      HostID
	Account AccountID
	Name    string // unique in the account
	Address string // for people; nothing connects to it
	Created time.Time
}
