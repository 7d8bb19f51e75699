package pg

import (
	"fmt"
	"strings"
)

// BackupLabel is what a backup_label says: where recovery of the backup begins.
type BackupLabel struct {
	Start      LSN
	StartFile  string // name of the WAL segment that holds Start
	Checkpoint LSN
	Method     string // "streamed"
	From       string // "primary" or "standby"
	StartTime  string // as the server wrote it, in its own time zone
	Label      string
	Timeline   Timeline
}

// ParseBackupLabel reads the backup_label that the server hands out when a backup
// stops. Lines that it does not know are left out.
func ParseBackupLabel(text string) (BackupLabel, error) {
	var l BackupLabel
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			continue
		}
		if err := l.set(key, value); err != nil {
			return BackupLabel{}, fmt.Errorf("backup_label: %w", err)
		}
	}
	switch {
	case l.Start == 0:
		return BackupLabel{}, fmt.Errorf("backup_label names no start of WAL")
	case l.Checkpoint == 0:
		return BackupLabel{}, fmt.Errorf("backup_label names no checkpoint")
	case l.Timeline == 0:
		return BackupLabel{}, fmt.Errorf("backup_label names no timeline")
	}
	return l, nil
}

func (l *BackupLabel) set(key, value string) (err error) {
	switch key {
	case "START WAL LOCATION":
		lsn, file, ok := strings.Cut(value, " (file ")
		if !ok || !strings.HasSuffix(file, ")") {
			return fmt.Errorf("start of WAL %q names no file", value)
		}
		l.StartFile = strings.TrimSuffix(file, ")")
		l.Start, err = ParseLSN(lsn)
	case "CHECKPOINT LOCATION":
		l.Checkpoint, err = ParseLSN(value)
	case "BACKUP METHOD":
		l.Method = value
	case "BACKUP FROM":
		l.From = value
	case "START TIME":
		l.StartTime = value
	case "LABEL":
		l.Label = value
	case "START TIMELINE":
		n, ok := parseOID(value)
		if !ok {
			return fmt.Errorf("timeline %q is no number", value)
		}
		l.Timeline = Timeline(n)
	}
	return err
}

// String returns the label as the server writes it.
func (l BackupLabel) String() string {
	return fmt.Sprintf("START WAL LOCATION: %s (file %s)\nCHECKPOINT LOCATION: %s\nBACKUP METHOD: %s\nBACKUP FROM: %s\n"+
		"START TIME: %s\nLABEL: %s\nSTART TIMELINE: %d\n",
		l.Start, l.StartFile, l.Checkpoint, l.Method, l.From, l.StartTime, l.Label, l.Timeline)
}
