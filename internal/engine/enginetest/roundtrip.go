package enginetest

import (
	"io/fs"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine"
)

// RoundTrip backs a site up into a directory and restores that, and checks what
// every engine owes: no error, no link in the set, a result that agrees with what
// was stored, and progress that reaches its total. It fills in Report where it is
// nil, and returns the source for more restores.
func RoundTrip(t *testing.T, e engine.Engine, b engine.Backup, r engine.Restore) (engine.Result, *DirSource) {
	t.Helper()
	sink := NewDirSink(t)
	res := BackUp(t, e, b, sink)
	src := sink.Source()
	RestoreAll(t, e, r, src)
	return res, src
}

// BackUp is the first half of RoundTrip.
func BackUp(t *testing.T, e engine.Engine, b engine.Backup, sink *DirSink) engine.Result {
	t.Helper()
	report := &Report{}
	if b.Report == nil {
		b.Report = report
	}
	res, err := e.Backup(t.Context(), b, sink)
	if err != nil {
		t.Fatalf("backup: %v", err)
	}
	var files, bytes int64
	src := sink.Source()
	for _, p := range src.Paths() {
		n := src.nodes[p]
		switch {
		case n.Mode&fs.ModeSymlink != 0:
			t.Errorf("the set holds a symbolic link: %s", p)
		case n.Mode.IsRegular():
			files++
			bytes += n.Size
		}
	}
	if res.Files != files || res.Bytes != bytes {
		t.Errorf("the result says %d files and %d bytes, stored were %d and %d", res.Files, res.Bytes, files, bytes)
	}
	if res.Started.IsZero() || res.Stopped.Before(res.Started) {
		t.Errorf("the backup started at %s and stopped at %s", res.Started, res.Stopped)
	}
	if len(report.Phases()) > 0 {
		doneFiles, totalFiles, doneBytes, totalBytes := report.Counts()
		if doneFiles < files || totalFiles < files || doneBytes < bytes || totalBytes < bytes {
			t.Errorf("progress says %d of %d files and %d of %d bytes, stored were %d and %d",
				doneFiles, totalFiles, doneBytes, totalBytes, files, bytes)
		}
	}
	return res
}

// RestoreAll is the second half of RoundTrip.
func RestoreAll(t *testing.T, e engine.Engine, r engine.Restore, src engine.Source) engine.Result {
	t.Helper()
	report := &Report{}
	if r.Report == nil {
		r.Report = report
	}
	res, err := e.Restore(t.Context(), r, src)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	if len(report.Phases()) > 0 {
		doneFiles, totalFiles, doneBytes, totalBytes := report.Counts()
		if doneFiles != totalFiles || doneBytes != totalBytes || doneFiles == 0 {
			t.Errorf("progress says %d of %d files and %d of %d bytes", doneFiles, totalFiles, doneBytes, totalBytes)
		}
	}
	return res
}
