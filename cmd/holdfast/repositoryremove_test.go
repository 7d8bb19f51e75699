package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

func TestLostWithKey(t *testing.T) {
	t.Parallel()
	slot := func(id string, use repository.KeyUse) repository.KeySlot {
		return repository.KeySlot{ID: strings.Repeat(id, 64), Use: use}
	}
	service, kit, second := slot("0", repository.UseService), slot("1", repository.UseKit), slot("2", repository.UseKit)
	anna, berta, foreign := slot("3", repository.UsePerson), slot("4", repository.UsePerson), slot("5", "")
	damaged := slot("6", repository.UseKit)
	damaged.Damaged = holdfast.Errorf(holdfast.CodeInvalid, "damaged")
	for _, c := range []struct {
		name  string
		slots []repository.KeySlot
		gone  repository.KeySlot
		want  string // in the message; empty: nothing is lost
	}{
		{"one kit of two", []repository.KeySlot{service, kit, second}, kit, ""},
		{"the only kit", []repository.KeySlot{service, kit}, kit, "nothing can be restored"},
		{"the only kit that is whole", []repository.KeySlot{service, kit, damaged}, kit, "nothing can be restored"},
		{"a damaged kit", []repository.KeySlot{service, damaged}, damaged, ""},
		{"the only kit beside a person", []repository.KeySlot{service, kit, anna}, kit, "another password"},
		{"the only kit beside restic's", []repository.KeySlot{service, kit, foreign}, kit, "another password"},
		{"a person beside a kit", []repository.KeySlot{service, kit, anna}, anna, ""},
		{"one person of two", []repository.KeySlot{service, anna, berta}, anna, ""},
		{"the only person", []repository.KeySlot{service, anna}, anna, "nothing can be restored"},
		{"a service", []repository.KeySlot{service, slot("7", repository.UseService)}, service, ""},
	} {
		err := lostWithKey(c.slots, c.gone)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: got %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(holdfast.ErrorHint(err), "--new-kit")):
			t.Errorf("%s: got %v, want %q and a hint at --new-kit", c.name, err, c.want)
		}
	}
}

// TestMissingRepositoryNamesTheKit: without a name, a repository is opened with its kit.
func TestMissingRepositoryNamesTheKit(t *testing.T) {
	t.Parallel()
	var in placeFlags
	cmd := &cobra.Command{Use: "check [REPOSITORY]", Args: args(1)}
	in.add(cmd)
	err := cmd.Args(cmd, nil)
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorHint(err), "--kit FILE") {
		t.Errorf("got %v with hint %q", err, holdfast.ErrorHint(err))
	}
	if err := cmd.Args(cmd, []string{"a", "b"}); err == nil || strings.Contains(holdfast.ErrorHint(err), "--kit FILE") {
		t.Errorf("got %v with hint %q", err, holdfast.ErrorHint(err))
	}
}
