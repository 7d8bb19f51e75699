package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

// passwordFlags say where a password comes from. There is no flag that holds
// one: everybody on the machine sees the arguments of a process.
type passwordFlags struct {
	file  string
	stdin bool
}

func (p *passwordFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.file, "password-file", "", "`file` that holds the user's password")
	cmd.Flags().BoolVar(&p.stdin, "password-stdin", false, "read the user's password from standard input")
}

func (a *app) password(p passwordFlags) (holdfast.Secret, error) {
	switch {
	case p.file != "" && p.stdin:
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "--password-file and --password-stdin exclude each other")
	case p.file != "":
		return readSecret(p.file)
	case p.stdin:
		return readSecretFrom(a.stdin, "standard input")
	}
	return holdfast.Secret{}, nil
}

func (a *app) siteCommand() *cobra.Command {
	list := &cobra.Command{
		Use: "list", Short: "List sites", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			sites, err := c.Sites(cmd.Context())
			if err != nil {
				return err
			}
			return a.print(sites, "ID SITE HOST SERVER DATA-DIRECTORY POOL REPOSITORY", func(row func(...any)) {
				for _, s := range sites {
					row(s.ID, s.Slug, s.Host, address(s.Server), s.DataDir, s.Pool, s.Repository)
				}
			})
		},
	}
	show := &cobra.Command{
		Use: "show SITE", Short: "Show a site", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			s, err := c.Site(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printSite(s)
		},
	}
	remove := &cobra.Command{
		Use: "remove SITE", Short: "Remove a site that has neither jobs nor backup sets", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.DeleteSite(cmd.Context(), args[0])
		},
	}
	return group("site", "PostgreSQL servers: those that are backed up, and those that ETLs use", a.siteAddCommand(), list, show, a.siteUpdateCommand(), a.siteTestCommand(), remove)
}

func (a *app) siteAddCommand() *cobra.Command {
	var in native.NewSite
	var password passwordFlags
	add := &cobra.Command{
		Use: "add NAME", Short: "Add a PostgreSQL server", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if in.Password, err = a.password(password); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			in.Slug = args[0]
			s, err := c.CreateSite(cmd.Context(), in)
			if err != nil {
				return err
			}
			return a.printSite(s)
		},
	}
	serverFlags(add, &in.Server)
	f := add.Flags()
	f.StringVar(&in.Name, "display-name", "", "`text` for people")
	f.StringVar(&in.Host, "host", "", "`host` on which the server runs")
	f.StringVar(&in.DataDir, "data-dir", "", "data `directory` on that host; left out: the site is for ETLs only")
	f.StringVar(&in.Pool, "pool", "", "`pool` of workers that may run its executions")
	f.StringVar(&in.Repository, "repository", "", "`repository` for its backup sets")
	f.IntVar(&in.MaxRunning, "max-running", 0, "`number` of executions at once; 0: no limit")
	backupFlags(add, &in.Reading, &in.Compression, &in.BytesPerSec)
	password.add(add)
	require(add, "host")
	return add
}

// backupFlags say how backups of a site are made.
func backupFlags(cmd *cobra.Command, reading *holdfast.Reading, compression *holdfast.Compression, rate *int64) {
	f := cmd.Flags()
	f.StringVar((*string)(reading), "read", "", "`which` files a DELTA reads: trust (those whose size, inode or times have changed) or read-all (default trust)")
	f.StringVar((*string)(compression), "compression", "", "`how` hard to compress: fastest, default, max or off")
	f.Var(sizeFlag{rate}, "limit-rate", "`size` that one backup or restore reads from its repository, and writes to it, at most in a second, as 50MiB; 0: no limit")
}

func serverFlags(cmd *cobra.Command, s *native.Server) {
	f := cmd.Flags()
	f.StringVar(&s.Host, "pg-host", "/var/run/postgresql", "`host` of the PostgreSQL server: a name, an address, or the directory of its Unix socket")
	f.Uint16Var(&s.Port, "pg-port", 5432, "its `port`")
	f.StringVar(&s.User, "pg-user", "postgres", "`user` to connect as")
	f.StringVar(&s.Database, "pg-database", "postgres", "`database` to connect to")
	f.StringVar(&s.SSLMode, "sslmode", "", "`mode` of encryption, as in libpq (default prefer)")
}

func (a *app) siteUpdateCommand() *cobra.Command {
	var in native.SiteChange
	var server native.Server
	var password passwordFlags
	var name, host, dataDir, pool, repository string
	var maxRunning int
	var reading holdfast.Reading
	var compression holdfast.Compression
	var rate int64
	update := &cobra.Command{
		Use: "update SITE", Short: "Change a site: what no flag names stays", Args: args(1),
	}
	serverFlags(update, &server)
	f := update.Flags()
	f.StringVar(&name, "display-name", "", "`text` for people")
	f.StringVar(&host, "host", "", "`host` on which the server runs")
	f.StringVar(&dataDir, "data-dir", "", "data `directory` on that host")
	f.StringVar(&pool, "pool", "", "`pool` of workers that may run its executions")
	f.StringVar(&repository, "repository", "", "`repository` for its backup sets")
	f.IntVar(&maxRunning, "max-running", 0, "`number` of executions at once; 0: no limit")
	backupFlags(update, &reading, &compression, &rate)
	f.BoolVar(&in.NoPassword, "no-password", false, "forget the password")
	password.add(update)
	update.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if in.Password, err = a.password(password); err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		if in.Server, err = changedServer(cmd, c, args[0], server); err != nil {
			return err
		}
		in.Name, in.Host = changed(cmd, "display-name", name), changed(cmd, "host", host)
		in.DataDir, in.Pool = changed(cmd, "data-dir", dataDir), changed(cmd, "pool", pool)
		in.Repository, in.MaxRunning = changed(cmd, "repository", repository), changed(cmd, "max-running", maxRunning)
		in.Reading, in.Compression = changed(cmd, "read", reading), changed(cmd, "compression", compression)
		in.BytesPerSec = changed(cmd, "limit-rate", rate)
		s, err := c.UpdateSite(cmd.Context(), args[0], in)
		if err != nil {
			return err
		}
		return a.printSite(s)
	}
	return update
}

// changedServer returns how to reach the server with the flags put in; nil when
// there are none.
func changedServer(cmd *cobra.Command, c *client.Client, ref string, flags native.Server) (*native.Server, error) {
	f := cmd.Flags()
	if !f.Changed("pg-host") && !f.Changed("pg-port") && !f.Changed("pg-user") && !f.Changed("pg-database") && !f.Changed("sslmode") {
		return nil, nil
	}
	s, err := c.Site(cmd.Context(), ref)
	if err != nil {
		return nil, err
	}
	out := s.Server
	put(cmd, "pg-host", &out.Host, flags.Host)
	put(cmd, "pg-port", &out.Port, flags.Port)
	put(cmd, "pg-user", &out.User, flags.User)
	put(cmd, "pg-database", &out.Database, flags.Database)
	put(cmd, "sslmode", &out.SSLMode, flags.SSLMode)
	return &out, nil
}

func put[T any](cmd *cobra.Command, flag string, to *T, v T) {
	if cmd.Flags().Changed(flag) {
		*to = v
	}
}

// changed returns what a flag was set to; nil when it was not.
func changed[T any](cmd *cobra.Command, flag string, v T) *T {
	if !cmd.Flags().Changed(flag) {
		return nil
	}
	return &v
}

func (a *app) siteTestCommand() *cobra.Command {
	var jobs string
	test := &cobra.Command{
		Use: "test SITE", Short: "Say what a backup of the site, or an ETL, would miss, and what to do about it", Args: args(1),
		Long: "Test connects to the site as a job would, from a worker on its host, and prints what it found: for backups,\n" +
			"or for ETLs with --for etl and when the site has no data directory. It exits with 1 when something is missing;\n" +
			"FIX is the SQL that grants it, or what else to do.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			of := holdfast.JobType(strings.ToUpper(jobs))
			if of != "" && of != holdfast.JobBackup && of != holdfast.JobETL {
				return holdfast.Errorf(holdfast.CodeInvalid, "a site is not tested for %q", jobs).WithHint("use --for backup or --for etl")
			}
			t, err := c.TestSite(cmd.Context(), args[0], of)
			if err != nil {
				return err
			}
			if err := a.print(t, "OK CHECK FOUND FIX", func(row func(...any)) {
				for _, f := range t.Findings {
					row(f.OK, f.Name, f.Text, f.Fix)
				}
			}); err != nil {
				return err
			}
			if !t.OK {
				return exitError(exitFailed)
			}
			return nil
		},
	}
	test.Flags().StringVar(&jobs, "for", "", "`jobs` that are to work there: backup or etl (default: backup, and etl for a site without a data directory)")
	return test
}

func address(s native.Server) string {
	return s.User + "@" + s.Host + ":" + cell(s.Port)
}

func (a *app) printSite(s native.Site) error {
	return a.print(s, "", func(row func(...any)) {
		row("id", s.ID)
		row("site", s.Slug)
		if s.Name != "" {
			row("name", s.Name)
		}
		row("host", s.Host)
		row("server", address(s.Server))
		row("database", s.Server.Database)
		row("sslmode", s.Server.SSLMode)
		row("password", s.HasPassword)
		row("data directory", s.DataDir)
		row("pool", s.Pool)
		row("repository", s.Repository)
		row("executions at once", orDash(s.MaxRunning))
		row("reading", s.Reading)
		row("compression", s.Compression)
		row("limit", rateText(s.BytesPerSec))
		row("created", s.Created)
	})
}

func rateText(bytesPerSec int64) string {
	if bytesPerSec == 0 {
		return "-"
	}
	return size(bytesPerSec) + "/s"
}
