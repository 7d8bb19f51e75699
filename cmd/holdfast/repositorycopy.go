package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// copyReport is what copy prints as JSON.
type copyReport struct {
	From       string           `json:"from"` // the id in the repository's config
	To         string           `json:"to"`
	Location   string           `json:"location"` // of the other one
	Snapshots  []copiedSnapshot `json:"snapshots"`
	Blobs      int64            `json:"pieces"`
	Packs      int64            `json:"packs"`
	AddedBytes int64            `json:"added_bytes"`
	Seconds    float64          `json:"seconds"`
}

type copiedSnapshot struct {
	checkedSnapshot
	Copy  string `json:"copy"`
	There bool   `json:"there_before,omitempty"`
}

// toFlags say which repository is copied to.
type toFlags struct{ name, kit, passwordFile, repository string }

func (a *app) repositoryCopyCommand() *cobra.Command {
	var in placeFlags
	var to toFlags
	var all bool
	cmd := &cobra.Command{
		Use: "copy [REPOSITORY] SNAPSHOT... --to REPOSITORY", Short: "Copy backup sets into another repository",
		Long: "Copy reads backup sets from one repository and stores them in another, without the database. What the other one has already\n" +
			"is not read, and nothing is compressed again. A set is there when all of it is; broken off, the same command goes on.\n" +
			"A set that is there already is not stored again; what the other repository has lost of it is brought back.\n\n" +
			"SNAPSHOT is the number of a backup set, or the beginning of a snapshot's id.\n\n" + placeHelp + "\n" +
			"The other repository is named with --to, or with --to-kit, or with --to-password-file and --to-repository.",
		Example: "  holdfast repository copy main 1001 1002 --to far\n" +
			"  holdfast repository copy main --all --to-kit far.kit\n" +
			"  holdfast repository copy --kit main.kit 1001 --to-kit far.kit --to-repository /mnt/far",
	}
	in.add(cmd)
	cmd.Args = nil // counted below
	f := cmd.Flags()
	f.BoolVar(&all, "all", false, "copy every snapshot")
	f.StringVar(&to.name, "to", "", "`name` of the repository to copy to, on the server's machine")
	f.StringVar(&to.kit, "to-kit", "", "`file` of the recovery kit of the repository to copy to")
	f.StringVar(&to.passwordFile, "to-password-file", "", "`file` that holds a password of the repository to copy to, with --to-repository")
	f.StringVar(&to.repository, "to-repository", "", "`place` where the repository to copy to is, with --to-kit or --to-password-file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		want := 1 // the first set
		if in.kit == "" && in.passwordFile == "" {
			want = 2 // behind the repository's name
		}
		if len(args) < want-1 || all != (len(args) == want-1) {
			return holdfast.Errorf(holdfast.CodeInvalid, "say which backup sets: their numbers, the beginnings of their snapshots' ids, or --all").
				WithHint("use: %s", cmd.UseLine())
		}
		p, refs, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		other, err := a.openOther(cmd.Context(), to)
		if err != nil {
			return err
		}
		sets, err := a.pickSnapshots(cmd.Context(), p, refs, all)
		if err != nil {
			return err
		}
		return a.copySets(cmd.Context(), p, other, sets)
	}
	return cmd
}

// openOther opens the repository that is copied to.
func (a *app) openOther(ctx context.Context, to toFlags) (*openedRepository, error) {
	ways := 0
	for _, s := range []string{to.name, to.kit, to.passwordFile} {
		if s != "" {
			ways++
		}
	}
	switch {
	case ways != 1:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "say which repository to copy to").
			WithHint("give one of --to, --to-kit and --to-password-file")
	case to.name != "" && to.repository != "":
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "--to-repository goes with --to-kit or --to-password-file only")
	case to.passwordFile != "" && to.repository == "":
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "--to-repository is missing").WithHint("say where the repository is: a directory, or s3:https://HOST/BUCKET/PREFIX")
	}
	p, _, err := a.openRepository(ctx, placeFlags{kit: to.kit, passwordFile: to.passwordFile, repository: to.repository}, []string{to.name})
	if err != nil {
		return nil, fmt.Errorf("the repository to copy to: %w", err)
	}
	return p, nil
}

// pickSnapshots finds what is meant, in the order in which it was asked for; all, the
// oldest first.
func (a *app) pickSnapshots(ctx context.Context, p *openedRepository, refs []string, all bool) ([]checkedSnapshot, error) {
	snapshots, err := p.Snapshots(ctx)
	if err != nil {
		if len(snapshots) == 0 || all { // all means all
			return nil, err
		}
		_, _ = fmt.Fprintf(a.stderr, "warning: some snapshots cannot be read: %v\n", err) // the others may be what is needed
	}
	known := make([]checkedSnapshot, 0, len(snapshots))
	for _, s := range snapshots {
		known = append(known, asChecked(s))
	}
	if all {
		return known, nil
	}
	sets := offlineSets(snapshots)
	var out []checkedSnapshot
	for _, ref := range refs {
		id := ""
		set, err := chooseSet(sets, ref, "")
		switch {
		case err == nil:
			id = set.Snapshot
		case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
			return nil, err
		}
		var found []checkedSnapshot
		for _, s := range known {
			if id != "" && s.Snapshot == id || id == "" && len(ref) >= 8 && strings.HasPrefix(s.Snapshot, ref) {
				found = append(found, s)
			}
		}
		switch {
		case len(found) == 0:
			return nil, err
		case len(found) > 1:
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "%d snapshots begin with %q", len(found), ref).WithHint("give more of the id")
		}
		out = append(out, found[0])
	}
	return out, nil
}

func asChecked(s repository.Snapshot) checkedSnapshot {
	c := checkedSnapshot{Snapshot: s.ID, Time: s.Time}
	c.Set, _ = s.Tag("set")
	c.Site, _ = s.Tag("site")
	return c
}

func (a *app) copySets(ctx context.Context, p, other *openedRepository, sets []checkedSnapshot) error {
	var o repository.CopyOptions
	for _, s := range sets {
		o.Snapshots = append(o.Snapshots, s.Snapshot)
	}
	show := a.newPhaseProgress("copy")
	o.Progress = show.take
	began := time.Now()
	r, err := p.Copy(ctx, other.Repository, o)
	show.close()
	if err != nil && len(r.Snapshots) == 0 {
		return err
	}
	v := copyReport{
		From: p.ID(), To: other.ID(), Location: other.location, Snapshots: []copiedSnapshot{},
		Blobs: r.Blobs, Packs: r.Packs, AddedBytes: r.AddedBytes, Seconds: time.Since(began).Seconds(),
	}
	for i, c := range r.Snapshots { // in the order in which they were asked for
		v.Snapshots = append(v.Snapshots, copiedSnapshot{checkedSnapshot: sets[i], Copy: c.To, There: c.There})
	}
	if a.output == "json" {
		return joinPrinted(err, printJSON(a.stdout, v))
	}
	_, perr := fmt.Fprint(a.stdout, v.text(other.title(), time.Since(began)))
	return joinPrinted(err, perr)
}

// joinPrinted prefers the error of the work to that of its report.
func joinPrinted(err, printed error) error {
	if err != nil {
		return err
	}
	return printed
}

// text is the report for people.
func (r copyReport) text(title string, took time.Duration) string {
	var b strings.Builder
	for _, s := range r.Snapshots {
		word := "is now"
		if s.There {
			word = "was there already as"
		}
		_, _ = fmt.Fprintf(&b, "%s %s snapshot %s\n", affected([]checkedSnapshot{s.checkedSnapshot}), word, s.Copy)
	}
	_, _ = fmt.Fprintf(&b, "%s: %s new, %s in %s, in %s\n", title, count(r.Blobs, "piece"), size(r.AddedBytes), count(r.Packs, "pack"), duration(took))
	return b.String()
}
