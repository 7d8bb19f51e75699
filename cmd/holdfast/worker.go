package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

func (a *app) workerCommand() *cobra.Command {
	var flags workerFlags
	var token, tokenFile, name string
	cmd := &cobra.Command{
		Use: "worker", Short: "Run a worker on its own, or manage workers", Args: cobra.ArbitraryArgs,
		Long: "Worker runs executions next to a database, for a server on another machine that was started with\n" +
			"--listen-workers. Invite it there (holdfast worker invite), and start it here once with --join TOKEN. Its identity\n" +
			"is then in its state directory, and it connects without a token. It runs the worker's part only: it needs neither\n" +
			"the server's database nor its keys.",
		Example: "  holdfast worker --join \"$TOKEN\" --restore-root /srv/restores",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args)
			}
			c, err := a.config()
			if err != nil {
				return err
			}
			flags.apply(cmd, &c.Worker)
			put(cmd, "name", &c.Worker.Name, name)
			if err := c.Validate(); err != nil {
				return err
			}
			join := holdfast.NewSecret(token)
			if tokenFile != "" {
				if join, err = readSecret(tokenFile); err != nil {
					return err
				}
			}
			ignoreHangup()
			return a.work(cmd.Context(), c, join)
		},
	}
	f := cmd.Flags()
	f.StringVar(&token, "join", "", "`token` from holdfast worker invite; it works once")
	f.StringVar(&tokenFile, "join-file", "", "`file` that holds that token")
	f.StringVar(&name, "name", "", "`name` of the worker (default: the machine's, unless the invitation names it)")
	flags.add(cmd)
	cmd.AddCommand(a.workerListCommand(), a.workerInviteCommand(), a.workerMaintenanceCommand(), &cobra.Command{
		Use: "remove WORKER", Short: "Remove a worker and cut it off", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.RemoveWorker(cmd.Context(), args[0])
		},
	})
	return cmd
}

// work joins when there is a token, and runs the worker.
func (a *app) work(ctx context.Context, c config.Config, token holdfast.Secret) (err error) {
	state, err := openState(c.State)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	if err := makeRoots(c.Worker.RestoreRoots); err != nil {
		return err
	}
	log := a.logger(c.Log)
	identity, member, err := join(ctx, c, state, token)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, member, identity, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	cfg := workerConfig(c, log)
	cfg.ID, cfg.Name, cfg.Pools, cfg.Conn, cfg.Opener = member.Worker, member.Name, member.Pools, conn, identity
	_, _ = fmt.Fprintf(a.stdout, "holdfast %s: worker %s is connected to %s\n", versionText(), member.Name, member.Address)
	return worker.New(cfg).Run(ctx)
}

// join returns who this worker is. With a token it becomes somebody first.
func join(ctx context.Context, c config.Config, state *state, token holdfast.Secret) (*seal.Identity, worker.Membership, error) {
	none := worker.Membership{}
	member, err := worker.LoadMembership(state.path(joinedName))
	if token.IsZero() {
		if err != nil {
			return nil, none, err
		}
		identity, err := seal.LoadIdentity(state.path(identityName))
		return identity, member, err
	}
	if err == nil {
		return nil, none, holdfast.Errorf(holdfast.CodeConflict, "this worker has joined %s already, as %s", member.Address, member.Name).
			WithHint("start it without --join; or, to join anew, remove it on the server and start it with another --state")
	}
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return nil, none, err
	}
	identity, err := newIdentity(state.path(identityName))
	if err != nil {
		return nil, none, err
	}
	name := c.Worker.Name
	if name == "" {
		if name, err = os.Hostname(); err != nil {
			return nil, none, fmt.Errorf("name the worker: %w", err)
		}
	}
	member, err = worker.Join(ctx, worker.Joining{
		Token: token.Reveal(), Name: name, Identity: identity, Slots: c.Worker.Slots, Version: versionText(),
	})
	if err != nil {
		return nil, none, err
	}
	return identity, member, member.Save(state.path(joinedName))
}

// newIdentity makes an identity, or takes the one of an attempt to join that did
// not come to its end.
func newIdentity(path string) (*seal.Identity, error) {
	if exists(path) {
		return seal.LoadIdentity(path)
	}
	return seal.CreateIdentity(path)
}

const (
	dialFirst = time.Second
	dialMost  = 15 * time.Second
)

// dial connects; while the server cannot be reached it tries again, as a worker
// may well start before its server.
func dial(ctx context.Context, m worker.Membership, identity *seal.Identity, log *slog.Logger) (*nats.Conn, error) {
	for wait := dialFirst; ; wait = min(2*wait, dialMost) {
		c, err := worker.Dial(m, identity, log)
		if err == nil || holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
			return c, err
		}
		log.WarnContext(ctx, "the server cannot be reached yet", "address", m.Address, "error", err)
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

func (a *app) workerListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List workers", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			workers, err := c.Workers(cmd.Context())
			if err != nil {
				return err
			}
			return a.printWorkers(workers, workers...)
		},
	}
}

func (a *app) workerInviteCommand() *cobra.Command {
	var in native.NewInvitation
	invite := &cobra.Command{
		Use: "invite NAME", Short: "Print a token with which one worker joins", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in.Name = args[0]
			c, err := a.client()
			if err != nil {
				return err
			}
			i, err := c.InviteWorker(cmd.Context(), in)
			if err != nil {
				return err
			}
			if a.output == "json" {
				return printJSON(a.stdout, i)
			}
			_, _ = fmt.Fprintf(a.stderr, "on the worker's machine: holdfast worker --join TOKEN; the token works once\n")
			_, err = fmt.Fprintln(a.stdout, i.Token)
			return err
		},
	}
	invite.Flags().StringArrayVar(&in.Hosts, "host", nil, "`host` on which the worker stands (repeatable)")
	invite.Flags().StringArrayVar(&in.Pools, "pool", nil, "`pool` that it serves (repeatable; default: default)")
	require(invite, "host")
	return invite
}
