package config_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/config"
)

func TestLoad(t *testing.T) {
	def := config.Default()
	with := func(change func(*config.Config)) config.Config {
		c := config.Default()
		change(&c)
		return c
	}
	cases := []struct {
		name string
		yaml string
		env  map[string]string
		want config.Config
		err  string // part of the message
		hint string // part of the hint
	}{
		{name: "nothing set", want: def},
		{
			name: "file",
			yaml: "listen: 0.0.0.0:9000\ntls: {self_signed: true}\ncommserve_name: vault\nworker:\n  slots: 2\n  service_slots: 3\n  restore_roots: [/srv/restore]\n  etl_roots: [/srv/in, /srv/out]\n  etl_memory: 1GiB\n  drain: 2m\nlog: {level: debug, format: json}\n",
			want: with(func(c *config.Config) {
				c.Listen = "0.0.0.0:9000"
				c.TLS.SelfSigned = true
				c.CommServeName = "vault"
				c.Worker = config.Worker{
					Slots: 2, ServiceSlots: 3, RestoreRoots: []string{"/srv/restore"}, ETLRoots: []string{"/srv/in", "/srv/out"}, ETLMemory: 1 << 30, Drain: 2 * time.Minute,
				}
				c.Log = config.Log{Level: slog.LevelDebug, Format: "json"}
			}),
		},
		{
			name: "environment wins over the file",
			yaml: "listen: 0.0.0.0:9000\nworker: {slots: 2, restore_roots: [/a]}\n",
			env: map[string]string{
				"HOLDFAST_LISTEN": "127.0.0.1:1", "HOLDFAST_WORKER_RESTORE_ROOTS": "/b:/c", "HOLDFAST_WORKER_ETL_ROOTS": "/d:/e", "HOLDFAST_WORKER_SERVICE_SLOTS": "0", "HOLDFAST_WORKER_ETL_MEMORY": "512MiB",
				"HOLDFAST_TLS_SELF_SIGNED": "true", "HOLDFAST_WORKER_DRAIN": "5s",
			},
			want: with(func(c *config.Config) {
				c.Listen = "127.0.0.1:1"
				c.TLS.SelfSigned = true
				c.Worker.Slots = 2
				c.Worker.RestoreRoots = []string{"/b", "/c"}
				c.Worker.ETLRoots, c.Worker.ServiceSlots, c.Worker.ETLMemory = []string{"/d", "/e"}, 0, 512<<20
				c.Worker.Drain = 5 * time.Second
			}),
		},
		{
			name: "schedules",
			yaml: "schedule: {grace: 30m}\n",
			env:  map[string]string{"HOLDFAST_SCHEDULE_LOWER_PRIORITY": "defer"},
			want: with(func(c *config.Config) {
				c.Schedule = config.Schedule{Grace: 30 * time.Minute, LowerPriority: config.LowerDefer}
			}),
		},
		{name: "empty section", yaml: "worker:\n", want: def},
		{
			name: "service links of Kubernetes are not ours",
			env:  map[string]string{"HOLDFAST_SERVICE_HOST": "10.0.0.1", "HOLDFAST_PORT": "tcp://10.0.0.1:8480", "HOLDFAST_PORT_8480_TCP_ADDR": "10.0.0.1", "HOLDFAST_SERVICE_PORT_API": "8480"},
			want: def,
		},
		{name: "unknown key", yaml: "worker: {slot: 2}\n", err: `key "worker.slot" is unknown`, hint: "worker.slots"},
		{name: "unknown variable", env: map[string]string{"HOLDFAST_LISTENN": "x"}, err: "HOLDFAST_LISTENN is unknown", hint: "HOLDFAST_LISTEN"},
		{name: "not YAML", yaml: "listen: [\n", err: "is not valid YAML"},
		{name: "wrong type", yaml: "worker: {slots: many}\n", err: "worker.slots"},
		{name: "bad duration", yaml: "worker: {drain: soon}\n", err: "worker.drain"},
		{name: "bad level", yaml: "log: {level: loud}\n", err: "log.level"},
		{
			name: "an object store",
			yaml: "s3: {access_key: KEY1, region: eu-1}\n",
			env: map[string]string{
				"HOLDFAST_S3_SECRET_KEY": "a secret", "HOLDFAST_S3_SESSION_TOKEN": "a token", "HOLDFAST_S3_REGION": "eu-2", "HOLDFAST_S3_PATH_STYLE": "true",
				"HOLDFAST_S3_CA": "/etc/ca.pem",
			},
			want: with(func(c *config.Config) {
				c.S3 = config.S3{
					AccessKey: "KEY1", SecretKey: holdfast.NewSecret("a secret"), SessionToken: holdfast.NewSecret("a token"), Region: "eu-2", PathStyle: true,
					CA: "/etc/ca.pem",
				}
			}),
		},
		{name: "secret key in the file", yaml: "s3: {secret_key: abc}\n", err: "holds the secret", hint: "HOLDFAST_S3_SECRET_KEY"},
		{name: "session token in the file", yaml: "s3: {session_token: abc}\n", err: "holds the secret", hint: "HOLDFAST_S3_SESSION_TOKEN"},
		{name: "token in the file", yaml: "token: abc\n", err: "holds a token", hint: "HOLDFAST_TOKEN"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "holdfast.yaml")
			if err := os.WriteFile(path, []byte(c.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			got, err := config.Load(path)
			if c.err != "" {
				requireError(t, err, c.err, c.hint)
				return
			}
			if err != nil {
				t.Fatalf("load: %v", err)
			}
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("validate: %v", err)
			}
		})
	}
}

func TestLoadFindsTheFileInTheStateDirectory(t *testing.T) {
	state := t.TempDir()
	t.Setenv("HOLDFAST_STATE", state)
	if err := os.WriteFile(filepath.Join(state, "holdfast.yaml"), []byte("listen: 127.0.0.1:7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:7" || c.State != state {
		t.Errorf("got listen %s, state %s", c.Listen, c.State)
	}
	if got, want := c.Socket(), filepath.Join(state, "holdfast.sock"); got != want {
		t.Errorf("socket: got %s, want %s", got, want)
	}
	if got, want := c.MasterKeyFile(), filepath.Join(state, "master.key"); got != want {
		t.Errorf("master key: got %s, want %s", got, want)
	}
}

func TestLoadWantsTheNamedFile(t *testing.T) {
	_, err := config.Load(filepath.Join(t.TempDir(), "missing.yaml"))
	requireError(t, err, "cannot be read", "--config")
}

func TestLoadHidesTheToken(t *testing.T) {
	t.Setenv("HOLDFAST_STATE", t.TempDir())
	t.Setenv("HOLDFAST_TOKEN", "very-secret")
	c, err := config.Load("")
	if err != nil {
		t.Fatal(err)
	}
	if c.Token.Reveal() != "very-secret" {
		t.Error("the token is lost")
	}
	if s := slog.AnyValue(c).String(); strings.Contains(s, "very-secret") {
		t.Errorf("the token prints: %s", s)
	}
}

func TestValidate(t *testing.T) {
	cases := []struct {
		name   string
		change func(*config.Config)
		err    string
	}{
		{"relative state", func(c *config.Config) { c.State = "state" }, "state directory"},
		{"listen without a port", func(c *config.Config) { c.Listen = "localhost" }, `listen "localhost"`},
		{"listen with a port that is too large", func(c *config.Config) { c.Listen = ":70000" }, "listen"},
		{"worker listener", func(c *config.Config) { c.ListenWorkers = "x" }, "listen_workers"},
		{"half a certificate", func(c *config.Config) { c.TLS.Cert = "/c" }, "belong together"},
		{"two certificates", func(c *config.Config) { c.TLS = config.TLS{Cert: "/c", Key: "/k", SelfSigned: true} }, "exclude"},
		{"relative master key", func(c *config.Config) { c.MasterKey = "key" }, "master_key"},
		{"bad CommServe name", func(c *config.Config) { c.CommServeName = "a b" }, "commserve_name"},
		{"log format", func(c *config.Config) { c.Log.Format = "xml" }, "log.format"},
		{"no slots", func(c *config.Config) { c.Worker.Slots = 0 }, "worker.slots"},
		{"negative service slots", func(c *config.Config) { c.Worker.ServiceSlots = -1 }, "worker.service_slots"},
		{"little ETL memory", func(c *config.Config) { c.Worker.ETLMemory = 1 << 20 }, "worker.etl_memory"},
		{"too much ETL memory", func(c *config.Config) { c.Worker.ETLMemory = 1 << 41 }, "worker.etl_memory"},
		{"too many service slots", func(c *config.Config) { c.Worker.ServiceSlots = 5000 }, "worker.service_slots"},
		{"half a key for maintenance", func(c *config.Config) { c.Worker.MaintenanceAccessKey = "keeper" }, "only one half"},
		{"negative drain", func(c *config.Config) { c.Worker.Drain = -1 }, "worker.drain"},
		{"no grace", func(c *config.Config) { c.Schedule.Grace = 0 }, "schedule.grace"},
		{"a grace that is too long", func(c *config.Config) { c.Schedule.Grace = 200 * time.Hour }, "schedule.grace"},
		{"lower priorities", func(c *config.Config) { c.Schedule.LowerPriority = "queue" }, "schedule.lower_priority"},
		{"bad worker name", func(c *config.Config) { c.Worker.Name = "a/b" }, "worker"},
		{"restore root /", func(c *config.Config) { c.Worker.RestoreRoots = []string{"/"} }, "restore root"},
		{"ETL root /", func(c *config.Config) { c.Worker.ETLRoots = []string{"/"} }, "ETL root"},
		{"relative ETL root", func(c *config.Config) { c.Worker.ETLRoots = []string{"/in", "out"} }, "ETL root"},
		{"server without a scheme", func(c *config.Config) { c.Server = "backup:8480" }, "server"},
		{"server with a password", func(c *config.Config) { c.Server = "https://u:p@backup" }, "holds more"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			cfg := config.Default()
			c.change(&cfg)
			requireError(t, cfg.Validate(), c.err, "")
		})
	}
}

func requireError(t *testing.T, err error, msg, hint string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one with %q", msg)
	}
	if got := holdfast.ErrorMessage(err); !strings.Contains(got, msg) {
		t.Errorf("message: got %q, want %q in it", got, msg)
	}
	if got := holdfast.ErrorHint(err); !strings.Contains(got, hint) {
		t.Errorf("hint: got %q, want %q in it", got, hint)
	}
}
