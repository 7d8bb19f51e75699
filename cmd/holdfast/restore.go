package main

import (
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

// restoreFlags are those of both kinds of restore.
type restoreFlags struct {
	to            string
	tablespaces   []string
	configuration bool
	delta         bool
	repository    string

	// through a server
	site, host, name, key string
	inPlace, wait         bool

	// without one
	offline bool
	kit     string
}

func (a *app) restoreCommand() *cobra.Command {
	var in restoreFlags
	cmd := &cobra.Command{
		Use:   "restore SET (--to DIR [--delta] | --in-place)",
		Short: "Restore a backup set into a new directory or into its place, through the server or with the recovery kit alone",
		Long: "Restore writes a backup set into a directory that is empty or missing. Through a server, a worker writes it, and only\n" +
			"below the directories that the worker allows (--restore-root); SET is an id, or latest with --site.\n\n" +
			"With --in-place it writes into the data directory of the site that the set is of, or of the one that --site names. The\n" +
			"server must be stopped. What is there is not deleted: it is moved aside, tablespaces too, and the execution says where\n" +
			"it is. The directories must lie below the worker's restore roots.\n\n" +
			"With --delta the directory may be a stopped copy of the same cluster: only the blocks that differ are written, and what is not\n" +
			"in the set is removed. Nothing is kept. When it is interrupted the directory does not start; another --delta finishes it.\n\n" +
			"With --offline it needs no server: this process reads the repository that the recovery kit names and writes as\n" +
			"the user that runs it. SET is then an id, latest, the beginning of a snapshot's id, or list. The access to an object\n" +
			"store comes from HOLDFAST_S3_ACCESS_KEY, HOLDFAST_S3_SECRET_KEY, and what else the kit names.\n\n" +
			"A cluster with tablespaces needs a directory for each: --tablespace OID=DIR.",
		Example: "  holdfast restore 1001 --to /var/lib/holdfast/restores/monday --wait\n" +
			"  holdfast restore latest --site berlin --in-place --wait\n" +
			"  holdfast restore latest --site berlin --to /srv/test/berlin --delta --wait\n" +
			"  holdfast restore --offline --kit main.kit list\n" +
			"  holdfast restore --offline --kit main.kit latest --to /var/lib/postgresql/15/main",
		Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := in.check(cmd); err != nil {
				return err
			}
			if in.offline {
				return a.restoreOffline(cmd.Context(), in, args[0])
			}
			return a.restoreOnline(cmd, in, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.to, "to", "", "`directory` for the data, empty or missing")
	f.StringArrayVar(&in.tablespaces, "tablespace", nil, "`OID=DIR`: directory for a tablespace, empty or missing (repeatable)")
	f.BoolVar(&in.configuration, "configuration", false, "put files that the source kept outside its data directory into the new one")
	f.BoolVar(&in.inPlace, "in-place", false, "into the data directory of a site whose server is stopped; what is there is kept beside")
	f.StringVar(&in.site, "site", "", "`site` whose latest set is meant, or whose set of that id; with --in-place, in whose place it is restored (default: the set's)")
	f.StringVar(&in.host, "host", "", "`host` whose worker writes (default: the site's)")
	f.StringVar(&in.name, "name", "", "`name` of the restore job (default: made up)")
	f.StringVar(&in.key, "key", "", "idempotency `key`: the same key gives the same execution")
	f.BoolVar(&in.wait, "wait", false, "wait until it has ended; the exit code tells its outcome")
	f.BoolVar(&in.offline, "offline", false, "without a server, with the recovery kit")
	f.BoolVar(&in.delta, "delta", false, "write over a stopped copy of the same cluster, only what differs; what is not in the set is removed there")
	f.StringVar(&in.kit, "kit", "", "`file` of the recovery kit, with --offline")
	f.StringVar(&in.repository, "repository", "", "`repository` whose copy is read (default: the best copy); with --offline the place where it is now: a directory, or s3:https://HOST/BUCKET/PREFIX (default: the kit's)")
	return cmd
}

// check refuses flags of the other kind of restore.
func (in restoreFlags) check(cmd *cobra.Command) error {
	if in.delta && in.inPlace {
		return holdfast.Errorf(holdfast.CodeInvalid, "--delta does not go with --in-place").
			WithHint("name the data directory with --to to write over it; --in-place alone keeps what is there")
	}
	wrong, rule := []string{"kit"}, "goes with --offline only"
	if in.offline {
		wrong, rule = []string{"host", "name", "key", "wait", "in-place"}, "does not go with --offline"
		if in.kit == "" {
			return holdfast.Errorf(holdfast.CodeInvalid, "--kit is missing").WithHint("name the recovery kit that repository create wrote")
		}
	}
	for _, name := range wrong {
		if cmd.Flags().Changed(name) {
			return holdfast.Errorf(holdfast.CodeInvalid, "--%s %s", name, rule).WithHint("see: %s --help", cmd.CommandPath())
		}
	}
	return nil
}

func (a *app) restoreOnline(cmd *cobra.Command, in restoreFlags, set string) error {
	spaces, err := parseTablespaces(in.tablespaces)
	if err != nil {
		return err
	}
	switch {
	case in.to == "" && !in.inPlace:
		return holdfast.Errorf(holdfast.CodeInvalid, "--to is missing").WithHint("name a directory that is empty or missing, or use --in-place")
	case in.to != "" && in.inPlace:
		return holdfast.Errorf(holdfast.CodeInvalid, "--to does not go with --in-place").WithHint("leave one of the two out")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if c.Local() {
		if err := in.absolute(spaces); err != nil {
			return err
		}
	}
	id, err := a.setID(cmd, c, in.site, set)
	if err != nil {
		return err
	}
	ask := native.NewRestore{Set: id, Host: in.host, Directory: in.to, InPlace: in.inPlace, Configuration: in.configuration, Delta: in.delta, Repository: in.repository, Name: in.name}
	if in.inPlace {
		ask.Site = in.site
	}
	for oid, dir := range spaces {
		if ask.Tablespaces == nil {
			ask.Tablespaces = map[string]string{}
		}
		ask.Tablespaces[strconv.FormatUint(uint64(oid), 10)] = dir
	}
	e, err := c.Restore(cmd.Context(), in.key, ask)
	if err != nil {
		return err
	}
	if !in.wait {
		return a.printExecution(e)
	}
	return a.wait(cmd.Context(), c, e)
}

func (a *app) setID(cmd *cobra.Command, c *client.Client, site, ref string) (holdfast.SetID, error) {
	if ref != "latest" {
		return number[holdfast.SetID]("set", ref)
	}
	if site == "" {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "latest needs a site").WithHint("name it with --site")
	}
	l, err := c.Sets(cmd.Context(), url.Values{"site": {site}, "limit": {"1"}})
	if err != nil {
		return 0, err
	}
	if len(l.Items) == 0 {
		return 0, holdfast.Errorf(holdfast.CodeNotFound, "site %s has no backup set", site).WithHint("make one with: holdfast job run")
	}
	return l.Items[0].ID, nil
}

// parseTablespaces reads OID=DIR.
func parseTablespaces(in []string) (map[uint32]string, error) {
	out := map[uint32]string{}
	for _, s := range in {
		key, dir, ok := strings.Cut(s, "=")
		oid, err := strconv.ParseUint(key, 10, 32)
		if !ok || err != nil || oid == 0 || dir == "" {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "--tablespace %q is not OID=DIR", s).WithHint("holdfast set show lists the tablespaces of a set")
		}
		if out[uint32(oid)] != "" {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "--tablespace names %d twice", oid)
		}
		out[uint32(oid)] = dir
	}
	return out, nil
}

// absolute makes the paths of a restore on this machine absolute.
func (in *restoreFlags) absolute(spaces map[uint32]string) (err error) {
	if in.to != "" {
		if in.to, err = filepath.Abs(in.to); err != nil {
			return err
		}
	}
	for oid, dir := range spaces {
		if spaces[oid], err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	return nil
}
