package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

func (a *app) repositoryRemoveCommand() *cobra.Command {
	var yes, last bool
	cmd := &cobra.Command{
		Use: "remove REPOSITORY", Short: "Forget a repository that neither a site nor a backup set uses; its files stay", Args: args(1),
		Long: "Remove forgets a repository and the service's password for it. Its files stay: a recovery kit, or a person's password, opens\n" +
			"them, and connect makes them known again. Where neither is left, nobody ever opens them, and --last is needed.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			r, err := c.Repository(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			lost := a.lostWithService(cmd.Context(), c, args[0])
			if err := a.confirmLost(cmd.Context(), fmt.Sprintf("Forget repository %s at %s? Its files stay.", r.Name, r.Location), lost, yes, last); err != nil {
				return err
			}
			if err := c.DeleteRepository(cmd.Context(), args[0]); err != nil {
				return err
			}
			_, _ = fmt.Fprintf(a.stderr, "forgot repository %s; its files stay at %s\n", r.Name, r.Location)
			if a.output == "json" {
				return printJSON(a.stdout, r)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&last, "last", false, "with --yes: although no recovery kit and no person's password is left, or this cannot be told")
	return cmd
}

// confirmLost asks before what cannot be undone. lost says what nobody can open afterwards;
// with yes, it is refused without last.
func (a *app) confirmLost(ctx context.Context, question string, lost error, yes, last bool) error {
	switch {
	case !yes && lost != nil:
		return a.confirm(ctx, lost.Error()+".\n"+question)
	case !yes:
		return a.confirm(ctx, question)
	case lost != nil && !last:
		return lost
	}
	return nil
}

// lostWithService says what is lost with the service's password; nil: other keys open the
// repository, or the password opens nothing.
func (a *app) lostWithService(ctx context.Context, c *client.Client, ref string) error {
	const hint = "make a recovery kit first, with holdfast repository key add %s --new-kit FILE; or add --last"
	unknown := func(err error) error {
		return holdfast.Errorf(holdfast.CodeConflict, "whether a recovery kit opens the repository cannot be told from here: %s", holdfast.ErrorMessage(err)).
			WithHint("look at the keys first: holdfast repository key list; or add --last")
	}
	if !c.Local() {
		return unknown(errors.New("this is not the server's machine"))
	}
	p, err := a.openByName(ctx, ref)
	if holdfast.ErrorCode(err) == holdfast.CodeForbidden {
		return nil
	}
	var slots []repository.KeySlot
	if err == nil {
		slots, err = p.KeySlots(ctx)
	}
	switch {
	case err != nil:
		return unknown(err)
	case slices.ContainsFunc(slots, func(s repository.KeySlot) bool { return !s.Current && opensForPeople(s) }):
		return nil
	}
	return holdfast.Errorf(holdfast.CodeConflict, "no recovery kit and no person's password opens %s: without the service's, nobody opens it ever again", p.title()).
		WithHint(hint, ref)
}

// lostWithKey says what is lost with a key; nil: another of its use stays.
func lostWithKey(slots []repository.KeySlot, gone repository.KeySlot) error {
	left := slices.DeleteFunc(slices.Clone(slots), func(s repository.KeySlot) bool { return s.ID == gone.ID })
	kit := slices.ContainsFunc(left, func(s repository.KeySlot) bool { return s.Damaged == nil && s.Use == repository.UseKit })
	const hint = "make a recovery kit first, with holdfast repository key add --new-kit FILE; or add --last"
	switch {
	case kit || !opensForPeople(gone):
		return nil
	case !slices.ContainsFunc(left, opensForPeople):
		return holdfast.Errorf(holdfast.CodeConflict, "no recovery kit opens the repository any more without key %s: "+
			"with this service lost, nothing can be restored", gone.ID[:minKeyPrefix]).WithHint(hint)
	case gone.Use == repository.UseKit:
		return holdfast.Errorf(holdfast.CodeConflict, "no recovery kit opens the repository any more without key %s: "+
			"with this service lost, only who knows another password restores", gone.ID[:minKeyPrefix]).WithHint(hint)
	}
	return nil
}

// opensForPeople reports whether somebody beside the service can have the key's password.
func opensForPeople(s repository.KeySlot) bool {
	return s.Damaged == nil && s.Use != repository.UseService
}
