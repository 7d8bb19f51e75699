package main

import (
	"encoding/json"
	"os"
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
