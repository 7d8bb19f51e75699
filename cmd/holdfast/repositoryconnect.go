package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func (a *app) repositoryConnectCommand() *cobra.Command {
	var kit, location string
	var access accessFlags
	cmd := &cobra.Command{
		Use: "connect NAME", Short: "Use a repository that exists, with its recovery kit", Args: args(1),
		Long: "Connect makes a repository that exists known to this server, and gives it a key of the server's own. The kit says where the\n" +
			"repository is and opens it; --location says where it is now, when that is another place. Of an object store it takes the\n" +
			"access key as create does; the kit's certificates are used unless --ca-file names others. One that the server knows by this name,\n" +
			"at this place, gets a new key: after an older copy of the state directory was put back.\n\n" +
			"The backup sets in it are not known yet: holdfast repository import.",
		Example: "  holdfast repository connect main --kit main.kit\n" +
			"  holdfast repository connect main --kit main.kit --location /mnt/rescued/holdfast\n" +
			"  holdfast repository connect far --kit far.kit --access-key ID --secret-key-file far.secret",
		RunE: func(cmd *cobra.Command, args []string) error {
			k, err := readKit(kit)
			if err != nil {
				return err
			}
			where := k.Location
			if location != "" {
				if where, err = locationURL(location); err != nil {
					return err
				}
			}
			who, err := a.newAccess(cmd, &access, where)
			if err != nil {
				return err
			}
			if who != nil && who.CA == "" {
				who.CA = k.CA
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.ConnectRepository(cmd.Context(), native.ConnectRepository{
				NewRepository: native.NewRepository{Name: args[0], Location: where, Access: who}, Password: k.Password, FormatID: k.FormatID,
			})
			if err != nil {
				return kitHint(err, where)
			}
			_, _ = fmt.Fprintf(a.stderr, "Make its backup sets known: holdfast repository import %s\n", r.Name)
			return a.printRepositories(r, r)
		},
	}
	cmd.Flags().StringVar(&kit, "kit", "", "`file` of the recovery kit")
	cmd.Flags().StringVar(&location, "location", "", "`place` where the repository is now: a directory on the server's machine, or s3:https://HOST/BUCKET/PREFIX (default: as the kit says)")
	access.add(cmd)
	require(cmd, "kit")
	return cmd
}

// kitHint says what to do when there is no repository where the kit says.
func kitHint(err error, where string) error {
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return err
	}
	return holdfast.Wrap(holdfast.CodeNotFound, err, "no repository can be opened at %s: %s", where, holdfast.ErrorMessage(err)).
		WithHint("%s; or say with --location where it is now", holdfast.ErrorHint(err))
}
