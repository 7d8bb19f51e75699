package main

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
	"github.com/holdfast-backup/holdfast/internal/config"
)

// maxSecretFile bounds a file that holds one secret.
const maxSecretFile = 64 << 10

// app is what every command has: the streams, and the flags of the root.
type app struct {
	stdin          *os.File
	stdout, stderr *os.File

	configFile string
	state      string
	server     string
	tokenFile  string
	ca         string
	account    string
	output     string
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "holdfast",
		Short: "Back up PostgreSQL, and restore it",
		Long: "Holdfast backs up PostgreSQL servers into an open, encrypted, deduplicating repository, and restores them.\n\n" +
			"Start the server with: holdfast serve. The other commands speak to it over a Unix socket in its state directory,\n" +
			"or to one on another machine with --server and a token in HOLDFAST_TOKEN.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args)
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s", err.Error()).WithHint("see: %s --help", cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVar(&a.configFile, "config", "", "configuration `file` (default: holdfast.yaml in the state directory, or in /etc/holdfast)")
	f.StringVar(&a.state, "state", "", "state `directory` (HOLDFAST_STATE; default "+config.DefaultState+")")
	f.StringVar(&a.server, "server", "", "`URL` of a server on another machine (HOLDFAST_SERVER); the token comes from HOLDFAST_TOKEN")
	f.StringVar(&a.tokenFile, "token-file", "", "`file` that holds the token for --server")
	f.StringVar(&a.ca, "ca", "", "`file` of certificates to trust for --server (HOLDFAST_CA)")
	f.StringVar(&a.account, "account", "", "`account` to act for on this machine, by name or alias (HOLDFAST_ACCOUNT; default: the default one)")
	f.StringVarP(&a.output, "output", "o", "table", "`format` of what is printed: table or json")
	root.AddCommand(
		a.serveCommand(), a.workerCommand(), a.hostCommand(), a.siteCommand(), a.repositoryCommand(), a.jobCommand(), a.scheduleCommand(), a.triggerCommand(),
		a.executionCommand(), a.setCommand(), a.retentionCommand(), a.restoreCommand(), a.tokenCommand(),
		a.accountCommand(), a.userCommand(), a.keyCommand(), a.patCommand(), a.accessKeyCommand(), a.etlCommand(), a.eventCommand(), a.versionCommand(),
	)
	return root
}

// group is a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: unknownCommand}
	c.AddCommand(commands...)
	return c
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		_ = cmd.Help()
		return exitError(exitUsage)
	}
	e := holdfast.Errorf(holdfast.CodeInvalid, "%s has no command %q", cmd.CommandPath(), args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return e.WithHint("did you mean %s?", strings.Join(near, ", "))
	}
	return e.WithHint("see: %s --help", cmd.CommandPath())
}

// args wants as many arguments as the command's use names in capitals.
func args(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		if len(got) == n {
			return nil
		}
		takes := strconv.Itoa(n) + " arguments"
		if n == 1 {
			takes = "one argument"
		}
		return holdfast.Errorf(holdfast.CodeInvalid, "%s takes %s, not %d", cmd.CommandPath(), takes, len(got)).
			WithHint("use: %s", cmd.UseLine())
	}
}

// require makes flags mandatory.
func require(cmd *cobra.Command, names ...string) {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, name := range names {
			if !cmd.Flags().Changed(name) {
				return holdfast.Errorf(holdfast.CodeInvalid, "--%s is missing", name).WithHint("see: %s --help", cmd.CommandPath())
			}
		}
		return run(cmd, args)
	}
}

// exclusive refuses flags beside each other. Cobra's own check cannot say which
// exit code it wants.
func exclusive(cmd *cobra.Command, a, b string) {
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().Changed(a) && cmd.Flags().Changed(b) {
			return holdfast.Errorf(holdfast.CodeInvalid, "--%s and --%s exclude each other", a, b).WithHint("see: %s --help", cmd.CommandPath())
		}
		return run(cmd, args)
	}
}

// config reads the configuration and puts the root's flags in.
func (a *app) config() (config.Config, error) {
	if a.output != "table" && a.output != "json" {
		return config.Config{}, holdfast.Errorf(holdfast.CodeInvalid, "output %q is unknown", a.output).WithHint("use table or json")
	}
	file := a.configFile
	if file == "" && a.state != "" {
		if p := filepath.Join(a.state, "holdfast.yaml"); exists(p) {
			file = p
		}
	}
	c, err := config.Load(file)
	if err != nil {
		return c, err
	}
	if a.state != "" {
		if c.State, err = filepath.Abs(a.state); err != nil {
			return c, err
		}
	}
	if a.server != "" {
		c.Server = a.server
	}
	if a.ca != "" {
		c.CA = a.ca
	}
	if a.account != "" {
		c.Account = a.account
	}
	if a.tokenFile != "" {
		if c.Token, err = readSecret(a.tokenFile); err != nil {
			return c, err
		}
	}
	return c, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// client connects to the server that the flags and the configuration name.
func (a *app) client() (*client.Client, error) {
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return client.New(client.Options{Socket: c.Socket(), Server: c.Server, Token: c.Token, CA: c.CA, Account: c.Account, Version: versionText()})
}

// readSecret reads a file that holds one secret; a line's end after it is none
// of it.
func readSecret(file string) (holdfast.Secret, error) {
	f, err := os.Open(file)
	if err != nil {
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "%v", err).WithHint("name a file that holds the secret and nothing else")
	}
	defer func() { _ = f.Close() }() // it was only read
	return readSecretFrom(f, file)
}

func readSecretFrom(r io.Reader, name string) (holdfast.Secret, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSecretFile+1))
	if err != nil {
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "read %s: %v", name, err)
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	switch {
	case len(b) > maxSecretFile:
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "%s is larger than %d bytes", name, maxSecretFile)
	case s == "":
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "%s is empty", name)
	case strings.ContainsAny(s, "\r\n"):
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "%s holds more than one line", name)
	}
	return holdfast.NewSecret(s), nil
}
