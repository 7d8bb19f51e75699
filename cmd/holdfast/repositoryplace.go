package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
	"github.com/holdfast-backup/holdfast/internal/objstore/place"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// placeFlags say which repository a command works on, and how it is opened: by its
// name, on the server's machine, with the service's own key; or anywhere, without a
// server, with a recovery kit or a password.
type placeFlags struct{ kit, passwordFile, repository string }

func (p *placeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.kit, "kit", "", "`file` of the recovery kit: no server is needed then")
	f.StringVar(&p.passwordFile, "password-file", "", "`file` that holds a password of the repository, with --repository: no server is needed then")
	f.StringVar(&p.repository, "repository", "", "`place` where the repository is, with --kit or --password-file: a directory, or s3:https://HOST/BUCKET/PREFIX")
	cmd.Args = optionalPlace(cmd.Args)
}

const placeHelp = "On the server's machine, REPOSITORY names one of its repositories, and the command runs as the user of the server. Anywhere\n" +
	"else, and without a server, leave it out and give --kit, or --password-file and --repository."

// optionalPlace lets the first argument, REPOSITORY, be left out.
func optionalPlace(want cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if !cmd.Flags().Changed("kit") && !cmd.Flags().Changed("password-file") {
			err := want(cmd, got)
			if err != nil && want(cmd, append([]string{""}, got...)) == nil {
				return holdfast.Errorf(holdfast.CodeInvalid, "%s needs the name of a repository, or its recovery kit", cmd.CommandPath()).
					WithHint("use: %s, or give --kit FILE in place of REPOSITORY", cmd.UseLine())
			}
			return err
		}
		if err := want(cmd, append([]string{""}, got...)); err != nil {
			return holdfast.Errorf(holdfast.CodeInvalid, "REPOSITORY does not go with --kit and --password-file").WithHint("see: %s --help", cmd.CommandPath())
		}
		return nil
	}
}

// openedRepository is a repository that is open, and what is known of it.
type openedRepository struct {
	*repository.Repository
	name     string
	location string
	who      holdfast.ObjectAccess // zero: it is in a directory
	kit      bool                  // a recovery kit has opened it
	client   *client.Client        // nil: there is no server
	id       holdfast.RepositoryID // with the client
}

// openRepository opens the repository, and returns the arguments behind its name.
func (a *app) openRepository(ctx context.Context, in placeFlags, args []string) (*openedRepository, []string, error) {
	if a.output != "table" && a.output != "json" {
		return nil, nil, holdfast.Errorf(holdfast.CodeInvalid, "output %q is unknown", a.output).WithHint("use table or json")
	}
	ignoreHangup() // restic unlock sends one to whoever holds a lock
	switch {
	case in.kit != "" && in.passwordFile != "":
		return nil, nil, holdfast.Errorf(holdfast.CodeInvalid, "--kit and --password-file exclude each other")
	case in.kit != "":
		p, err := a.openKit(ctx, in.kit, in.repository)
		return p, args, err
	case in.passwordFile != "":
		p, err := a.openByPassword(ctx, in)
		return p, args, err
	case in.repository != "":
		return nil, nil, holdfast.Errorf(holdfast.CodeInvalid, "--repository goes with --kit or --password-file only")
	}
	p, err := a.openByName(ctx, args[0])
	return p, args[1:], err
}

func (a *app) openByPassword(ctx context.Context, in placeFlags) (*openedRepository, error) {
	if in.repository == "" {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "--repository is missing").WithHint("say where the repository is: a directory, or s3:https://HOST/BUCKET/PREFIX")
	}
	location, err := locationURL(in.repository)
	if err != nil {
		return nil, err
	}
	password, err := readSecret(in.passwordFile)
	if err != nil {
		return nil, err
	}
	b, access, err := a.openBucket(location, "")
	if err != nil {
		return nil, fmt.Errorf("open the repository at %s: %w", location, err)
	}
	trimmed := withoutBlanks(password)
	repo, err := repository.Open(ctx, b, trimmed)
	if holdfast.ErrorCode(err) == holdfast.CodeForbidden && trimmed != password {
		repo, err = repository.Open(ctx, b, password) // a key from before, with its blanks
	}
	if err != nil {
		return nil, fmt.Errorf("open the repository at %s: %w", location, err)
	}
	return &openedRepository{Repository: repo, location: location, who: access}, nil
}

// openByName opens a repository as the server does: with the key in its database,
// which only the server's user can read.
func (a *app) openByName(ctx context.Context, ref string) (*openedRepository, error) {
	n, err := a.namedRepository(ctx, ref)
	if err != nil {
		return nil, err
	}
	b, err := place.Open(n.row.Location, n.access, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fmt.Errorf("open repository %s at %s: %w", n.row.Name, n.row.Location, err)
	}
	repo, err := repository.Open(ctx, b, n.password)
	if err != nil {
		return nil, fmt.Errorf("open repository %s at %s: %w", n.row.Name, n.row.Location, err)
	}
	if repo.ID() != n.row.FormatID {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "another repository stands at %s", n.row.Location).WithHint("bring back the one that belongs there")
	}
	return &openedRepository{Repository: repo, name: n.row.Name, location: n.row.Location, who: n.access, client: n.client, id: n.row.ID}, nil
}

// namedRepository is what the server's database knows of a repository, opened.
type namedRepository struct {
	row      holdfast.Repository
	password holdfast.Secret
	access   holdfast.ObjectAccess
	client   *client.Client
}

func (a *app) namedRepository(ctx context.Context, ref string) (*namedRepository, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	server, err := a.client()
	if err != nil {
		return nil, err
	}
	if !server.Local() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a server on another machine does not hand out a repository's key").
			WithHint("run this on the server's machine; or give --kit, or --password-file and --repository")
	}
	known, err := server.Repository(ctx, ref)
	if err != nil {
		return nil, err
	}
	// The server has said that this caller may see it: the id is enough.
	row, err := sqlite.PeekRepository(ctx, filepath.Join(c.State, databaseName), 0, known.ID)
	if err != nil {
		return nil, fmt.Errorf("read the key of repository %s: %w", known.Name, err)
	}
	master, err := seal.LoadMaster(c.MasterKeyFile())
	if err != nil {
		return nil, err
	}
	n := &namedRepository{row: row, client: server}
	n.row.Name = known.Name
	if n.password, err = master.Open(row.Password); err != nil {
		return nil, fmt.Errorf("open the key of repository %s: %w", known.Name, err)
	}
	if len(row.Access) > 0 {
		packed, err := master.Open(row.Access)
		if err == nil {
			n.access, err = holdfast.UnpackObjectAccess(packed)
		}
		if err != nil {
			return nil, fmt.Errorf("open the access of repository %s: %w", known.Name, err)
		}
	}
	return n, nil
}

// recorded are the snapshots of the sets that the server knows in this repository.
func (p *openedRepository) recorded(ctx context.Context) ([]string, error) {
	const page = 1000
	var out []string
	for offset := 0; ; offset += page {
		l, err := p.client.Sets(ctx, url.Values{"limit": {strconv.Itoa(page)}, "offset": {strconv.Itoa(offset)}})
		if err != nil {
			return nil, fmt.Errorf("list the backup sets: %w", err)
		}
		for _, s := range l.Items {
			out = append(out, p.snapshots(s)...)
		}
		if len(l.Items) < page {
			return out, nil
		}
	}
}

func (p *openedRepository) snapshots(s native.Set) []string {
	var out []string
	for _, c := range s.Copies {
		if c.RepositoryID == p.id && (holdfast.Copy{State: c.State}).Readable() {
			out = append(out, c.Snapshot)
		}
	}
	return out
}

// title names the repository in messages.
func (p *openedRepository) title() string {
	if p.name != "" {
		return "repository " + p.name + " at " + p.location
	}
	return "repository at " + p.location
}
