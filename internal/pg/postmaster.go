package pg

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// PostmasterPID is what postmaster.pid says of the server that runs in a data
// directory, or ran there last.
type PostmasterPID struct {
	PID       int
	DataDir   string
	Started   time.Time // to the second
	Port      int
	SocketDir string
}

// ParsePostmasterPID reads a postmaster.pid. Only its first line is there from
// the beginning; the server adds the others while it starts.
func ParsePostmasterPID(text string) (PostmasterPID, error) {
	lines := strings.Split(text, "\n")
	var p PostmasterPID
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if err != nil || pid == 0 {
		return p, fmt.Errorf("postmaster.pid: %q is no process id", lines[0])
	}
	p.PID = max(pid, -pid) // negative: a server in single-user mode
	if len(lines) > 1 {
		p.DataDir = lines[1]
	}
	if len(lines) > 2 {
		if sec, err := strconv.ParseInt(lines[2], 10, 64); err == nil {
			p.Started = time.Unix(sec, 0).UTC()
		}
	}
	if len(lines) > 3 {
		p.Port, _ = strconv.Atoi(lines[3])
	}
	if len(lines) > 4 {
		p.SocketDir = lines[4]
	}
	return p, nil
}
