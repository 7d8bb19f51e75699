package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRepositoryRepairIndexCommand(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.want(0, "the index was right", "repair", "index")
	if err := os.Remove(s.object("index")); err != nil {
		t.Fatal(err)
	}
	s.want(1, "DAMAGED", "check")
	s.want(0, "would name", "repair", "index", "--dry-run")
	s.want(1, "DAMAGED", "check")
	s.want(0, "nothing is lost", "repair", "index")
	s.want(0, "no damage", "check", "--read-data")
	if err := os.Remove(s.object("data/*")); err != nil {
		t.Fatal(err)
	}
	out := s.want(3, "", "repair", "index", "-o", "json")
	var got repairIndexReport
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Changed || got.Lost == 0 || len(got.Bad) != 1 || !got.Bad[0].Missing || len(got.Removed) != 1 || got.Packs != 1 {
		t.Errorf("got %+v", got)
	}
	s.want(2, "", "repair", "index", "one", "two")
}

func TestRepositoryRepairSnapshotsCommand(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.want(0, "1 snapshot whole", "repair", "snapshots")
	packs, err := filepath.Glob(filepath.Join(s.dir, "data/*/*"))
	if err != nil {
		t.Fatal(err)
	}
	var got repairSnapshotsReport
	for _, pack := range packs { // one holds the directories, and one the files
		if err := os.Rename(pack, pack+".aside"); err != nil {
			t.Fatal(err)
		}
		got = repairSnapshotsReport{}
		if err := json.Unmarshal([]byte(s.want(3, "", "repair", "snapshots", "--dry-run", "-o", "json")), &got); err != nil {
			t.Fatal(err)
		}
		if len(got.Repaired) != 1 || got.Whole != 0 || !got.DryRun || len(got.Repaired[0].Lost) == 0 || got.Repaired[0].New != "" {
			t.Fatalf("got %+v", got)
		}
		if !got.Repaired[0].Nothing {
			break
		}
		s.want(3, "nothing is left of it; it stays", "repair", "snapshots")
		if err := os.Rename(pack+".aside", pack); err != nil {
			t.Fatal(err)
		}
	}
	if lost := got.Repaired[0].Lost; len(lost) != 2 || lost[0] != (lostNode{Path: "pgdata/one", Bytes: 100_000}) {
		t.Errorf("got %+v", got)
	}
	s.want(3, "pieces are lost", "repair", "index")
	s.want(3, "what is left is now snapshot", "repair", "snapshots", "1001")
	s.want(3, "of an earlier repair\n        the damaged snapshot was removed", "repair", "snapshots", "--forget", "--yes")
	s.want(0, "no damage", "check", "--read-data")
	s.want(4, "INCOMPLETE", "repair", "snapshots", "1001")
	code, out, errs := s.restore("list")
	if code != 0 || !strings.Contains(out, "INCOMPLETE") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	if code, out, errs := s.restore("latest", "--to", filepath.Join(t.TempDir(), "to")); code != 4 || !strings.Contains(errs, "name its snapshot") {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	s.want(2, "which repository", "repair", "snapshots", "--password-file=")
}

// restore runs an offline restore with the kit.
func (s *shelf) restore(args ...string) (code int, out, errs string) {
	s.t.Helper()
	return s.runAll(append([]string{"restore", "--offline"}, args...)...)
}
