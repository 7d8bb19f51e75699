package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/place"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// undeletedReport is an object that is back, or lost, as JSON.
type undeletedReport struct {
	Name    string    `json:"name"`
	Bytes   int64     `json:"bytes"`
	Changed time.Time `json:"changed"`        // when it was deleted, or overwritten last
	Done    string    `json:"done,omitempty"` // how it came back
	Kept    int       `json:"versions"`       // that the store has of it
}

type undeleteReport struct {
	Location string            `json:"location"`
	DryRun   bool              `json:"dry_run"`
	Objects  []undeletedReport `json:"objects"` // that are back, or would be
	Lost     []undeletedReport `json:"lost"`    // of which the store has no good version
}

func undeletedReports(in []repository.Undeleted) []undeletedReport {
	out := []undeletedReport{}
	for _, d := range in {
		out = append(out, undeletedReport{Name: d.Name, Bytes: d.Size, Changed: d.Time.UTC(), Done: d.Done, Kept: d.Versions})
	}
	return out
}

func (a *app) repositoryUndeleteCommand() *cobra.Command {
	var in placeFlags
	var o repository.UndeleteOptions
	cmd := &cobra.Command{
		Use: "undelete [REPOSITORY]", Short: "Bring back what was deleted of a repository in a bucket with versions", Args: args(1),
		Long: "Undelete brings back what was deleted of a repository since a time, or overwritten, by the store's clock: what prune and retention\n" +
			"have removed, and what somebody has who should not have been able to. Of several versions it takes the one that has the content that\n" +
			"its name says, and reads them for that. The bucket must keep versions, and the access key must have the rights s3:GetBucketVersioning,\n" +
			"s3:ListBucketVersions, s3:GetObjectVersion, s3:PutObject and s3:DeleteObjectVersion. Locks stay deleted. No password is needed; with --kit or\n" +
			"--repository, no server either: then the access key comes from HOLDFAST_S3_ACCESS_KEY and HOLDFAST_S3_SECRET_KEY, and may be\n" +
			"another one than the server's. Have nobody prune the repository meanwhile, and check it afterwards.\n\n" + placeHelp,
		Example: "  holdfast repository undelete far --since 2026-01-31T02:00:00Z --dry-run\n" +
			"  HOLDFAST_S3_ACCESS_KEY=OWNER HOLDFAST_S3_SECRET_KEY=… holdfast repository undelete --kit far.kit --since 2026-01-31T02:00:00Z",
	}
	in.add(cmd)
	cmd.Args = cobra.MaximumNArgs(1)
	cmd.Flags().Var(timeFlag{&o.Since}, "since", "`time` of the first change that is undone")
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only say what would come back")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		location, access, err := a.undeletePlace(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		v, err := place.OpenVersions(location, access, slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		r, err := repository.Undelete(cmd.Context(), v, o)
		report := undeleteReport{Location: location, DryRun: o.DryRun, Objects: undeletedReports(r.Objects), Lost: undeletedReports(r.Lost)}
		if err != nil && len(r.Objects) == 0 && len(r.Lost) == 0 {
			return err
		}
		return a.printUndeleted(report, err)
	}
	require(cmd, "since")
	return cmd
}

// undeletePlace is where the repository is, which need not be one any more.
func (a *app) undeletePlace(ctx context.Context, in placeFlags, args []string) (string, holdfast.ObjectAccess, error) {
	var none holdfast.ObjectAccess
	switch {
	case a.output != "table" && a.output != "json":
		return "", none, holdfast.Errorf(holdfast.CodeInvalid, "output %q is unknown", a.output).WithHint("use table or json")
	case len(args) == 1 && (in.kit != "" || in.passwordFile != "" || in.repository != ""):
		return "", none, holdfast.Errorf(holdfast.CodeInvalid, "REPOSITORY does not go with --kit and --repository")
	case len(args) == 1:
		n, err := a.namedRepository(ctx, args[0])
		if err != nil {
			return "", none, err
		}
		return n.row.Location, n.access, nil
	case in.kit == "" && in.repository == "":
		return "", none, holdfast.Errorf(holdfast.CodeInvalid, "no repository is named").WithHint("name one of the server's, or give --kit or --repository")
	}
	var location, ca string
	if in.kit != "" {
		kit, err := readKit(in.kit)
		if err != nil {
			return "", none, err
		}
		location, ca = kit.Location, kit.CA
	}
	if in.repository != "" {
		url, err := locationURL(in.repository)
		if err != nil {
			return "", none, err
		}
		location = url
	}
	access, err := a.objectAccess(location)
	if access.CA == "" {
		access.CA = ca
	}
	return location, access, err
}

// printUndeleted prints what is back, also when something could not be brought back.
func (a *app) printUndeleted(r undeleteReport, failure error) error {
	err := a.print(r, "OBJECT BYTES CHANGED DONE", func(row func(...any)) {
		for _, o := range r.Objects {
			row(o.Name, size(o.Bytes), o.Changed, o.Done)
		}
	})
	var bytes int64
	for _, o := range r.Objects {
		bytes += o.Bytes
	}
	verb := "are back"
	if r.DryRun {
		verb = "would come back"
	}
	_, _ = fmt.Fprintf(a.stderr, "%s with %s %s at %s\n", count(int64(len(r.Objects)), "object"), size(bytes), verb, r.Location)
	for _, o := range r.Lost {
		why := "the store has kept nothing of it"
		if o.Kept > 0 {
			why = "of " + count(int64(o.Kept), "version") + " none holds what its name says"
		}
		_, _ = fmt.Fprintf(a.stderr, "warning: %s is lost: %s\n", o.Name, why)
	}
	switch {
	case failure != nil:
		return failure
	case err != nil:
		return err
	case len(r.Lost) > 0:
		return exitError(exitWarnings)
	}
	return nil
}
