package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func TestRepositoryCopyCommand(t *testing.T) {
	t.Parallel()
	s, far := newShelf(t), newShelf(t)
	all, err := s.repo.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.want(0, "1001 of berlin is now snapshot", "copy", "1001", "--to-kit", far.kit)
	out := s.want(0, "", "copy", all[0].ID[:8], "--to-password-file", s.file("service"), "--to-repository", far.dir, "-o", "json")
	var got copyReport
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Snapshots) != 1 || !got.Snapshots[0].There || got.Snapshots[0].Snapshot != all[0].ID || got.Snapshots[0].Set != "1001" || got.Blobs != 0 || got.To != far.repo.ID() {
		t.Errorf("got %+v", got)
	}
	s.want(0, "was there already as", "copy", "--all", "--to-kit", far.kit)
	far.want(0, "no damage", "check", "--read-data")
	s.want(2, "itself", "copy", "1001", "--to-kit", s.kit)
	s.want(2, "which backup sets", "copy", "--to-kit", far.kit)
	s.want(2, "which backup sets", "copy", "1001", "--all", "--to-kit", far.kit)
	s.want(2, "which repository", "copy", "1001")
	s.want(2, "--to-repository", "copy", "1001", "--to-password-file", s.file("service"))
	s.want(4, `no backup set "1002"`, "copy", "1002", "--to-kit", far.kit)
	if err := os.RemoveAll(filepath.Join(s.dir, "data")); err != nil {
		t.Fatal(err)
	}
	s.want(1, "missing", "copy", "1001", "--to-kit", newShelf(t).kit)
}
