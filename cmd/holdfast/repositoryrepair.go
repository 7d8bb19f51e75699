package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast/internal/repository"
)

func (a *app) repositoryRepairCommand() *cobra.Command {
	return group("repair", "Make a damaged repository usable again", a.repairIndexCommand(), a.repairSnapshotsCommand())
}

// repairIndexReport is what repair index prints as JSON.
type repairIndexReport struct {
	Repository string          `json:"repository"` // the id in its config
	Location   string          `json:"location"`
	DryRun     bool            `json:"dry_run,omitempty"`
	Changed    bool            `json:"changed"`
	Kept       int             `json:"kept_indexes"`
	Written    int             `json:"written_indexes"`
	Removed    []replacedIndex `json:"removed_indexes"`
	Packs      int             `json:"packs"`
	Added      []string        `json:"added_packs"`
	Saved      int             `json:"saved_packs"`
	Bad        []badPack       `json:"bad_packs"`
	Lost       int             `json:"lost_pieces"`
}

type replacedIndex struct {
	Index string `json:"index"`
	Why   string `json:"why"`
}

type badPack struct {
	Pack    string `json:"pack"`
	Missing bool   `json:"missing,omitempty"`
	What    string `json:"what"`
	Blobs   int    `json:"pieces"`
	Lost    int    `json:"lost_pieces"`
}

func (a *app) repairIndexCommand() *cobra.Command {
	var in placeFlags
	var o repository.RepairIndexOptions
	cmd := &cobra.Command{
		Use: "index [REPOSITORY]", Short: "Make the index anew from what is there", Args: args(1),
		Long: "Repair index keeps the index objects that read well and whose packs are there. Packs that no index object names are asked\n" +
			"what they hold; packs that are missing are left out, and named. With --read-data every pack is read: of one that is\n" +
			"damaged, the good pieces are saved into a new pack. Damaged packs stay where they are. Backups and restores may run.\n\n" +
			placeHelp + "\n\n" +
			"It exits with 0 when nothing is lost, and with 3 when pieces are, or packs whose content nobody knows: repair snapshots is\n" +
			"what to do then, and check says what is affected.",
		Example: "  holdfast repository repair index main --dry-run\n" +
			"  holdfast repository repair index main\n" +
			"  holdfast repository repair index --kit main.kit --read-data",
	}
	in.add(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.ReadHeaders, "read-all", false, "ask every pack what it holds, not only those that the index cannot be right about")
	f.BoolVar(&o.ReadData, "read-data", false, "read every pack whole")
	f.BoolVar(&o.DryRun, "dry-run", false, "only say what would be done")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		show := a.newPhaseProgress("repair")
		o.Progress = show.take
		r, err := p.RepairIndex(cmd.Context(), o)
		show.close()
		if err != nil {
			return err
		}
		return a.printRepairedIndex(p, o, r)
	}
	return cmd
}

func (a *app) printRepairedIndex(p *openedRepository, o repository.RepairIndexOptions, r repository.RepairIndexResult) error {
	v := repairIndexReport{
		Repository: p.ID(), Location: p.location, DryRun: o.DryRun, Changed: r.Changed(), Kept: r.Kept, Written: r.Written, Removed: []replacedIndex{},
		Packs: r.Packs, Added: append([]string{}, r.Added...), Saved: r.Saved, Bad: []badPack{}, Lost: r.Lost(),
	}
	for _, i := range r.Removed {
		v.Removed = append(v.Removed, replacedIndex{Index: i.ID, Why: i.Why})
	}
	for _, b := range r.Bad {
		v.Bad = append(v.Bad, badPack{Pack: b.ID, Missing: b.Missing, What: b.What, Blobs: b.Blobs, Lost: b.Lost})
	}
	var err error
	if a.output == "json" {
		err = printJSON(a.stdout, v)
	} else {
		_, err = fmt.Fprint(a.stdout, v.text(p.title()))
	}
	unknown := slices.ContainsFunc(r.Bad, func(b repository.BadPack) bool { return b.Blobs == 0 })
	if err == nil && (v.Lost > 0 || unknown) {
		return exitError(exitWarnings)
	}
	return err
}

// text is the report for people.
func (r repairIndexReport) text(title string) string {
	var b strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&b, format+"\n", args...) }
	would := func(done, would string) string {
		if r.DryRun {
			return would
		}
		return done
	}
	for _, i := range r.Removed {
		line("%s index object %s: %s", would("replaced", "would replace"), short(i.Index), cell(i.Why))
	}
	for _, p := range r.Bad {
		word := "damaged"
		if p.Missing {
			word = "missing"
		}
		line("%s pack %s: %s", word, p.Pack, cell(p.What))
		switch {
		case p.Blobs == 0:
			line("        what it held is not known; it stays where it is")
		case p.Lost == 0:
			line("        all %s of it are had elsewhere", count(int64(p.Blobs), "piece"))
		default:
			line("        %d of %s are lost", p.Lost, count(int64(p.Blobs), "piece"))
		}
	}
	line("%s: the index %s %s, %d of which it did not name before; %s kept, %d %s", title, would("names", "would name"),
		count(int64(r.Packs), "pack"), len(r.Added), count(int64(r.Kept), "index object"), r.Written, would("written", "to be written"))
	if r.Saved > 0 {
		line("good pieces of damaged packs %s saved into new ones", would("were", "would be"))
	}
	switch {
	case r.Lost > 0:
		line("LOST: %s. What needs them says: holdfast repository check. A new backup may bring them back; else:", count(int64(r.Lost), "piece"))
		line("      holdfast repository repair snapshots")
	case !r.Changed && len(r.Bad) == 0:
		line("the index was right")
	default:
		line("nothing is lost")
	}
	return b.String()
}

// short is the beginning of an id, for people.
func short(id string) string { return id[:min(len(id), 8)] }
