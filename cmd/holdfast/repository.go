package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
	"github.com/holdfast-backup/holdfast/internal/durable"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

func (a *app) repositoryCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List repositories", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			all, err := c.Repositories(cmd.Context())
			if err != nil {
				return err
			}
			return a.printRepositories(all, all...)
		},
	}
	show := &cobra.Command{
		Use: "show REPOSITORY", Short: "Show a repository", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.Repository(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printRepositories(r, r)
		},
	}
	return group("repository", "Where backup sets live", a.repositoryCreateCommand(), list, show, a.repositoryAccessCommand(), a.repositoryRemoveCommand(),
		a.repositoryCheckCommand(), a.repositoryPruneCommand(), a.repositoryStatsCommand(), a.repositoryLocksCommand(), a.repositoryUnlockCommand(), a.repositoryUndeleteCommand(), a.repositoryKeyCommand(),
		a.repositoryRepairCommand(), a.repositoryCopyCommand(), a.repositoryConnectCommand(), a.repositoryImportCommand(), a.repositoryReportCommand())
}

func (a *app) repositoryCreateCommand() *cobra.Command {
	var location, kit string
	var access accessFlags
	create := &cobra.Command{
		Use: "create NAME", Short: "Create a repository and write its recovery kit", Args: args(1),
		Long: "Create makes an empty repository and writes its recovery kit: a text file with which alone, without any server,\n" +
			"the backup sets can be restored. Its password is shown this once. Keep the file away from this machine, and\n" +
			"from the repository.\n\n" +
			"The location is a directory, or a prefix in a bucket of an object store that speaks S3 and honours If-None-Match.\n" +
			"The kit then tells how the store is reached, without the secret of the access key: keep that, too.",
		Example: "  holdfast repository create main --location /backup/holdfast --kit main.kit\n" +
			"  holdfast repository create far --location s3:https://s3.example.com/bucket/far --kit far.kit \\\n" +
			"    --access-key ID --secret-key-file far.secret",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			where, err := locationURL(location)
			if err != nil {
				return err
			}
			who, err := a.newAccess(cmd, &access, where)
			if err != nil {
				return err
			}
			f, err := newKitFile("kit", kit, where) // first: a repository whose kit cannot be kept must not come to be
			if err != nil {
				return err
			}
			r, err := c.CreateRepository(cmd.Context(), native.NewRepository{Name: args[0], Location: where, Access: who})
			if err != nil {
				if !madeNone(cmd.Context(), c, err, args[0]) {
					a.warnOfLostKit(err, args[0])
				}
				return errors.Join(err, f.drop())
			}
			if err := f.write(r); err != nil {
				return holdfast.Wrap(holdfast.CodeExhausted, err, "repository %s was created, but its recovery kit could not be written", r.Name).
					WithHint("the kit's password is lost: remove the repository (holdfast repository remove %s) and what is at its location, and create it again", r.Name)
			}
			_, _ = fmt.Fprintf(a.stderr, "The recovery kit is in %s. Keep it away from this machine: nothing else can take its place.\n", kit)
			return a.printRepositories(r.Repository, r.Repository)
		},
	}
	create.Flags().StringVar(&location, "location", "", "`place` that is empty or missing: a directory on the server's machine, or s3:https://HOST/BUCKET/PREFIX")
	create.Flags().StringVar(&kit, "kit", "", "`file` to write the recovery kit to; it must not exist")
	access.add(create)
	require(create, "location", "kit")
	return create
}

// askTimeout is how long the server is asked whether it has made a repository.
const askTimeout = 5 * time.Second

// madeNone reports whether the server has answered that it knows no such repository. One
// that did not answer the call itself may still be making it.
func madeNone(ctx context.Context, c *client.Client, err error, name string) bool {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	_, err = c.Repository(ctx, name)
	return holdfast.ErrorCode(err) == holdfast.CodeNotFound
}

// warnOfLostKit says what may have happened when no answer came: the server may
// have made the repository, and its kit was in that answer alone.
func (a *app) warnOfLostKit(err error, name string) {
	switch holdfast.ErrorCode(err) {
	case holdfast.CodeUnavailable, holdfast.CodeInternal:
		_, _ = fmt.Fprintf(a.stderr, "If holdfast repository list shows %s, its recovery kit is lost: remove it and what is at its location, and create it again.\n", name)
	case holdfast.CodeInvalid, holdfast.CodeUnauthenticated, holdfast.CodeForbidden, holdfast.CodeNotFound, holdfast.CodeConflict, holdfast.CodeExhausted:
		// It was refused.
	}
}

// locationURL makes a URL of a directory; a URL stays.
func locationURL(location string) (string, error) {
	if strings.Contains(location, "://") || strings.HasPrefix(location, "s3:") {
		return location, nil
	}
	dir, err := filepath.Abs(location)
	if err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: dir}).String(), nil
}

// kitFile is where a recovery kit will be.
type kitFile struct {
	path string
	file *os.File
}

// newKitFile takes the name, so that nobody else has it. flag is the one that gave it; a
// place in the repository's own directory is refused: the kit would be lost with it.
func newKitFile(flag, path, location string) (*kitFile, error) {
	l, err := holdfast.ParseLocation(location)
	if err != nil {
		return nil, err
	}
	if l.Dir != "" && below(resolved(path), resolved(l.Dir)) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s lies in the repository itself: the recovery kit would be lost with it, and who has the one has the other", path).
			WithHint("name a file elsewhere with --%s, better on another machine", flag)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, holdfast.Errorf(holdfast.CodeConflict, "%s exists already", path).WithHint("name a new file with --%s: a recovery kit is never overwritten", flag)
	case err != nil:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the recovery kit cannot be written: %v", err).WithHint("name a file in a directory that you may write to with --%s", flag)
	}
	return &kitFile{path: path, file: f}, nil
}

// resolved returns a path without symbolic links in what is there of it.
func resolved(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for at, rest := path, ""; ; at, rest = filepath.Dir(at), filepath.Join(filepath.Base(at), rest) {
		if found, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(found, rest)
		}
		if at == filepath.Dir(at) {
			return path
		}
	}
}

// below reports whether a path lies in a directory; both are clean.
func below(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// drop gives the name up.
func (k *kitFile) drop() error { return errors.Join(k.file.Close(), os.Remove(k.path)) }

// write makes the kit durable.
func (k *kitFile) write(r native.CreatedRepository) (err error) {
	kit := repository.Kit{Name: r.Name, Created: r.Created, Location: r.Kit.Location, FormatID: r.Kit.FormatID, Password: holdfast.NewSecret(r.Kit.Password), Access: r.Kit.Access, CA: r.Kit.CA}
	text, err := kit.Encode()
	if err != nil {
		return errors.Join(err, k.file.Close())
	}
	if _, err := k.file.Write(text); err != nil {
		return errors.Join(err, k.file.Close())
	}
	if err := errors.Join(k.file.Sync(), k.file.Close()); err != nil {
		return err
	}
	return durable.SyncDir(filepath.Dir(k.path))
}

func (a *app) printRepositories(v any, all ...native.Repository) error {
	return a.print(v, "ID NAME LOCATION FORMAT-ID CREATED", func(row func(...any)) {
		for _, r := range all {
			row(r.ID, r.Name, r.Location, r.FormatID, r.Created) // whole: kits say to compare it
		}
	})
}
