package testkit

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Limits of what a server may take.
const (
	startLimit = 60 * time.Second
	stopLimit  = 60 * time.Second
	queryLimit = 2 * time.Minute
)

// StopMode is how a server is stopped.
type StopMode string

// The ways to stop a server.
const (
	Smart     StopMode = "smart"     // waits for sessions to end
	Fast      StopMode = "fast"      // ends sessions, writes a checkpoint
	Immediate StopMode = "immediate" // writes nothing: the next start recovers
	Kill      StopMode = "kill"      // SIGKILL to the postmaster
)

// PostgresOptions says what server to start. The zero value is a server of
// [DefaultMajor] with data checksums that trusts every local connection.
type PostgresOptions struct {
	Major       int
	InitDB      []string          // further arguments of initdb
	Conf        map[string]string // lines of postgresql.conf; values are quoted here
	NoChecksums bool
	Tablespaces int    // how many to make: ts1, ts2, …
	TCP         bool   // listens on 127.0.0.1, too
	Password    string // of the superuser; not empty: connections need it (scram-sha-256)
}

// Postgres is a PostgreSQL server that lives as long as the test.
type Postgres struct {
	SocketDir   string
	Port        uint16
	User        string // superuser
	Password    string // empty: none needed
	DataDir     string
	BinDir      string
	Tablespaces []string // directories of ts1, ts2, …

	t        testing.TB
	uid, gid int
	args     []string
	cmd      *exec.Cmd
	ended    chan struct{} // closed when cmd has ended
}

// StartPostgres makes a cluster and starts its server. It takes about a second.
func StartPostgres(t testing.TB, o PostgresOptions) *Postgres {
	t.Helper()
	if o.Major == 0 {
		o.Major = DefaultMajor
	}
	base := Dir(t)
	uid, gid := Owner(t)
	p := &Postgres{
		SocketDir: filepath.Join(base, "s"), Port: freePort(t), User: systemUser, Password: o.Password,
		DataDir: filepath.Join(base, "data"), BinDir: pgBinDir(t, o.Major, "postgres"), t: t, uid: uid, gid: gid,
	}
	p.mkdir(t, p.SocketDir)
	p.initDB(t, o)
	p.configure(t, o)
	p.Start(t)
	for i := range o.Tablespaces {
		dir := filepath.Join(base, fmt.Sprintf("ts%d", i+1))
		p.mkdir(t, dir)
		p.Tablespaces = append(p.Tablespaces, dir)
		p.Exec(t, "", fmt.Sprintf("CREATE TABLESPACE ts%d LOCATION '%s'", i+1, dir))
	}
	return p
}

// StartRestored starts a server on a data directory that a restore has written,
// with a socket directory of its own. It runs as the directory's owner; a
// directory that belongs to root, with its tablespaces, is given to the user
// that PostgreSQL runs as first. WAL archiving and TCP are off, whatever the
// configuration says.
func StartRestored(t testing.TB, dir string) *Postgres {
	t.Helper()
	uid, gid := Owner(t)
	fi, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatalf("the owner of %s is unknown", dir)
	}
	if st.Uid == 0 {
		give(t, dir, uid, gid)
	} else {
		uid, gid = int(st.Uid), int(st.Gid)
	}
	version, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	major := atoi(t, strings.TrimSpace(string(version)))
	p := &Postgres{
		SocketDir: Dir(t), Port: freePort(t), User: systemUser, DataDir: dir,
		BinDir: pgBinDir(t, major, "postgres"), t: t, uid: uid, gid: gid,
	}
	p.args = []string{
		"-k", p.SocketDir, "-p", fmt.Sprint(p.Port), "-c", "listen_addresses=", "-c", "archive_mode=off",
		"-c", "external_pid_file=", "-c", "logging_collector=off", "-c", "log_destination=stderr",
	}
	p.Start(t)
	return p
}

// give changes the owner of a data directory and of its tablespaces.
func give(t testing.TB, dir string, uid, gid int) {
	t.Helper()
	trees := []string{dir}
	links, err := filepath.Glob(filepath.Join(dir, "pg_tblspc", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		target, err := filepath.EvalSymlinks(l)
		if err != nil {
			t.Fatalf("a tablespace of the restored cluster leads nowhere: %v", err)
		}
		trees = append(trees, target)
	}
	for _, tree := range trees {
		err := filepath.WalkDir(tree, func(path string, _ os.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return os.Lchown(path, uid, gid)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (p *Postgres) mkdir(t testing.TB, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, p.uid, p.gid); err != nil {
		t.Fatal(err)
	}
}

func (p *Postgres) initDB(t testing.TB, o PostgresOptions) {
	t.Helper()
	args := []string{"-D", p.DataDir, "-U", p.User, "--no-sync", "--encoding=UTF8", "--locale=C"}
	if !o.NoChecksums {
		args = append(args, "--data-checksums")
	}
	if o.Password == "" {
		args = append(args, "--auth=trust")
	} else {
		file := filepath.Join(filepath.Dir(p.DataDir), "password")
		p.write(t, file, o.Password+"\n")
		args = append(args, "--auth=scram-sha-256", "--pwfile="+file)
	}
	Run(t, filepath.Join(p.BinDir, "initdb"), append(args, o.InitDB...)...)
}

func (p *Postgres) configure(t testing.TB, o PostgresOptions) {
	t.Helper()
	conf := map[string]string{
		"listen_addresses":        "",
		"unix_socket_directories": p.SocketDir,
		"port":                    fmt.Sprint(p.Port),
		"shared_buffers":          "32MB",
		"fsync":                   "off", // no test pulls the machine's plug
		"wal_level":               "replica",
		"max_wal_senders":         "10",
		"max_replication_slots":   "10",
		"log_line_prefix":         "%m [%p] %q%u@%d ",
	}
	if o.TCP {
		conf["listen_addresses"] = "127.0.0.1"
	}
	maps.Copy(conf, o.Conf)
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(conf)) {
		fmt.Fprintf(&b, "%s = '%s'\n", k, strings.ReplaceAll(conf[k], "'", "''"))
	}
	p.AppendConf(t, b.String())
}

// AppendConf adds lines to postgresql.conf; the next start or reload reads them.
func (p *Postgres) AppendConf(t testing.TB, lines string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(p.DataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(lines)
	if err := firstError(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func (p *Postgres) write(t testing.TB, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, p.uid, p.gid); err != nil {
		t.Fatal(err)
	}
}

// Start starts the server after a stop and returns when it answers.
func (p *Postgres) Start(t testing.TB) {
	t.Helper()
	if err := p.TryStart(t); err != nil {
		t.Fatal(err)
	}
}

// TryStart is Start for a server that may not come up: then the error holds what
// it printed. The children of a server that was killed may take a moment to end, and keep
// its memory until then.
func (p *Postgres) TryStart(t testing.TB) error {
	t.Helper()
	for deadline := time.Now().Add(startLimit); ; time.Sleep(50 * time.Millisecond) {
		err := p.launch(t)
		if err == nil || !strings.Contains(p.Log(3), "pre-existing shared memory block") || time.Now().After(deadline) {
			return err
		}
	}
}

// launch is one try to start the server.
func (p *Postgres) launch(t testing.TB) error {
	t.Helper()
	if p.cmd != nil {
		t.Fatal("the server has already been started")
	}
	file, err := os.OpenFile(p.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // the server has a copy of its own
	// Not CommandContext: the server outlives the call, and Stop ends it.
	cmd := exec.Command(filepath.Join(p.BinDir, "postgres"), append([]string{"-D", p.DataDir}, p.args...)...)
	cmd.Dir = p.SocketDir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stdout, cmd.Stderr = file, file
	// The server goes down with a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: credential(p.uid, p.gid), Pdeathsig: syscall.SIGQUIT}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(ended)
	}()
	p.cmd, p.ended = cmd, ended
	p.t.Cleanup(func() {
		if p.cmd != cmd {
			return // stopped, or started again: that start has its own
		}
		p.Stop(p.t, Immediate)
		if p.t.Failed() {
			p.t.Logf("the server's log ends with:\n%s", p.Log(40))
		}
	})
	return p.await(t.Context())
}

// await returns when the server answers.
func (p *Postgres) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, p.ConnString(""))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-p.ended:
			p.cmd = nil
			return fmt.Errorf("the server has ended; its log:\n%s", p.Log(40))
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w; its log:\n%s", err, p.Log(40))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop stops the server and returns when it has ended. One that does not obey is
// killed, and the test fails.
func (p *Postgres) Stop(t testing.TB, mode StopMode) {
	t.Helper()
	if p.cmd == nil {
		t.Fatal("the server is not running")
	}
	signals := map[StopMode]os.Signal{
		Smart: syscall.SIGTERM, Fast: syscall.SIGINT, Immediate: syscall.SIGQUIT, Kill: syscall.SIGKILL,
	}
	if err := p.cmd.Process.Signal(signals[mode]); err != nil && !gone(err) {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		t.Errorf("the server did not stop within %s (%s)", stopLimit, mode)
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
	p.cmd = nil
}

// Restart stops the server (fast) and starts it.
func (p *Postgres) Restart(t testing.TB) {
	t.Helper()
	p.Stop(t, Fast)
	p.Start(t)
}

// Pid returns the postmaster's process id.
func (p *Postgres) Pid() int { return p.cmd.Process.Pid }

// Log returns the last lines of the server's log.
func (p *Postgres) Log(lines int) string {
	b, err := os.ReadFile(p.logFile())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// logFile lies outside the data directory: a backup must not hold it.
func (p *Postgres) logFile() string { return filepath.Join(p.SocketDir, "log") }

func freePort(t testing.TB) uint16 {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was sent
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
