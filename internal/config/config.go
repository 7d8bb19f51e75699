// Package config turns holdfast.yaml and the environment into one typed
// [Config]. It is the only package that reads the environment.
//
// A key of the file, such as worker.restore_roots, is also an environment
// variable: HOLDFAST_WORKER_RESTORE_ROOTS. The environment wins over the file,
// and a flag, which the caller puts in afterwards, wins over both.
package config

import (
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Defaults.
const (
	DefaultFile   = "/etc/holdfast/holdfast.yaml"
	DefaultState  = "/var/lib/holdfast"
	DefaultListen = "127.0.0.1:8480"
	DefaultSlots  = 4
	DefaultDrain  = 30 * time.Second

	DefaultServiceSlots = 8 // a service waits for most of its life

	fileName      = "holdfast.yaml" // in the state directory
	masterKeyName = "master.key"    // in the state directory
	socketName    = "holdfast.sock" // in the state directory
	maxSlots      = 1024
	minETLMemory  = 64 << 20 // the least that the engine works with
	maxETLMemory  = 1 << 40
	maxDrain      = time.Hour
	minGrace      = time.Minute // a busy server is late by seconds
	maxGrace      = 7 * 24 * time.Hour
)

// Config is everything that can be set.
type Config struct {
	State         string `koanf:"state"`      // directory of everything that must survive
	Listen        string `koanf:"listen"`     // address of the APIs
	TLS           TLS    `koanf:"tls"`        // of the APIs' listener
	MasterKey     string `koanf:"master_key"` // file; empty: master.key in the state directory
	ListenWorkers string `koanf:"listen_workers"`
	// AdvertiseWorkers is the host:port at which workers reach ListenWorkers;
	// empty: its own, with this machine's name for "every address".
	AdvertiseWorkers string   `koanf:"advertise_workers"`
	Worker           Worker   `koanf:"worker"`
	Schedule         Schedule `koanf:"schedule"`
	Log              Log      `koanf:"log"`
	// CommServeName is the name under which clients of Commvault's API find this
	// server; empty: holdfast.
	CommServeName string `koanf:"commserve_name"`

	// What the command line needs to reach a server on another machine.
	Server string          `koanf:"server"` // URL; empty: the Unix socket in the state directory
	CA     string          `koanf:"ca"`     // file of certificates to trust besides the system's
	Token  holdfast.Secret `koanf:"token"`
	// Account is the name or an alias of the account that the command line acts for
	// over the socket; empty: the default one.
	Account string `koanf:"account"`
	// S3 is the access of commands that open a repository in an object store without
	// a server.
	S3 S3 `koanf:"s3"`
}

// S3 says who we are at an object store.
type S3 struct {
	AccessKey    string          `koanf:"access_key"`
	SecretKey    holdfast.Secret `koanf:"secret_key"`
	SessionToken holdfast.Secret `koanf:"session_token"`
	Region       string          `koanf:"region"`
	PathStyle    bool            `koanf:"path_style"`
	CA           string          `koanf:"ca"` // file of certificates
}

// TLS says how the APIs' listener is encrypted; the zero value is plain HTTP.
type TLS struct {
	Cert       string `koanf:"cert"` // file
	Key        string `koanf:"key"`  // file
	SelfSigned bool   `koanf:"self_signed"`
}

// Enabled reports whether the listener speaks TLS.
func (t TLS) Enabled() bool { return t.SelfSigned || t.Cert != "" }

// Worker is what a worker is given, inside serve or alone.
type Worker struct {
	Name         string   `koanf:"name"`          // empty: the machine's
	Slots        int      `koanf:"slots"`         // executions at once, but for those of service ETLs
	ServiceSlots int      `koanf:"service_slots"` // service ETLs at once, beside them; 0: none
	RestoreRoots []string `koanf:"restore_roots"` // directories below which a restore may write
	ETLRoots     []string `koanf:"etl_roots"`     // directories below which an ETL may read and write files
	// ETLMemory is the most that the transform process of one ETL execution gets; 0: a
	// quarter of what the machine has.
	ETLMemory holdfast.Size `koanf:"etl_memory"`
	Drain     time.Duration `koanf:"drain"` // how long running work may go on after a request to end
	// MaintenanceAccessKey and its secret are for what a worker that is marked for
	// maintenance deletes in object stores; empty: as the repository is reached.
	MaintenanceAccessKey string          `koanf:"maintenance_access_key"`
	MaintenanceSecretKey holdfast.Secret `koanf:"maintenance_secret_key"`
}

// What becomes of a scheduled run that meets a job of a higher priority.
const (
	LowerSkip  = "skip"  // it is left out, as Teradata has it
	LowerDefer = "defer" // it waits in the queue
)

// Schedule says how scheduled runs give way.
type Schedule struct {
	Grace         time.Duration `koanf:"grace"`          // how late a run that was missed may begin
	LowerPriority string        `koanf:"lower_priority"` // LowerSkip or LowerDefer
}

// Policy is the rule that the settings make.
func (s Schedule) Policy() holdfast.SchedulePolicy {
	return holdfast.SchedulePolicy{Grace: s.Grace, DeferLower: s.LowerPriority == LowerDefer}
}

func (s Schedule) validate() error {
	if s.Grace < minGrace || s.Grace > maxGrace {
		return holdfast.Errorf(holdfast.CodeInvalid, "schedule.grace %s is out of range", s.Grace).WithHint("use %s to %s", minGrace, maxGrace)
	}
	if s.LowerPriority != LowerSkip && s.LowerPriority != LowerDefer {
		return holdfast.Errorf(holdfast.CodeInvalid, "schedule.lower_priority %q is unknown", s.LowerPriority).WithHint("use %s or %s", LowerSkip, LowerDefer)
	}
	return nil
}

// Log says what is logged, and how.
type Log struct {
	Level  slog.Level `koanf:"level"`
	Format string     `koanf:"format"` // text or json
}

// Default returns what holds when nothing is set.
func Default() Config {
	return Config{
		State:    DefaultState,
		Listen:   DefaultListen,
		Worker:   Worker{Slots: DefaultSlots, ServiceSlots: DefaultServiceSlots, Drain: DefaultDrain},
		Schedule: Schedule{Grace: holdfast.DefaultGrace, LowerPriority: LowerSkip},
		Log:      Log{Level: slog.LevelInfo, Format: "text"},
	}
}

// MasterKeyFile is where the master key lies.
func (c Config) MasterKeyFile() string {
	if c.MasterKey != "" {
		return c.MasterKey
	}
	return filepath.Join(c.State, masterKeyName)
}

// Socket is the Unix socket of the server on this machine.
func (c Config) Socket() string { return filepath.Join(c.State, socketName) }

// Validate checks what can be checked without touching files.
func (c Config) Validate() error {
	if err := holdfast.CleanAbs("state directory", c.State); err != nil {
		return err
	}
	if err := address("listen", c.Listen); err != nil {
		return err
	}
	if c.ListenWorkers != "" {
		if err := address("listen_workers", c.ListenWorkers); err != nil {
			return err
		}
	}
	if c.AdvertiseWorkers != "" {
		if err := address("advertise_workers", c.AdvertiseWorkers); err != nil {
			return err
		}
	}
	if err := c.TLS.validate(); err != nil {
		return err
	}
	if c.MasterKey != "" {
		if err := holdfast.CleanAbs("master_key", c.MasterKey); err != nil {
			return err
		}
	}
	if c.CommServeName != "" {
		if err := holdfast.ValidName("commserve_name", c.CommServeName); err != nil {
			return err
		}
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		return holdfast.Errorf(holdfast.CodeInvalid, "log.format %q is unknown", c.Log.Format).WithHint("use text or json")
	}
	if err := c.Worker.validate(); err != nil {
		return err
	}
	if err := c.Schedule.validate(); err != nil {
		return err
	}
	return c.validateServer()
}

func (c Config) validateServer() error {
	if c.Server == "" {
		return nil
	}
	u, err := url.Parse(c.Server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return holdfast.Errorf(holdfast.CodeInvalid, "server %q is not the URL of a server", c.Server).
			WithHint("give a URL such as https://backup.example.com:8480")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "the server's URL holds more than scheme, host, port and path").
			WithHint("give the token in HOLDFAST_TOKEN or with --token-file")
	}
	return nil
}

func (t TLS) validate() error {
	switch {
	case (t.Cert == "") != (t.Key == ""):
		return holdfast.Errorf(holdfast.CodeInvalid, "tls.cert and tls.key belong together").WithHint("set both, or none")
	case t.SelfSigned && t.Cert != "":
		return holdfast.Errorf(holdfast.CodeInvalid, "tls.self_signed and tls.cert exclude each other").WithHint("set one of them")
	}
	return nil
}

func (w Worker) validate() error {
	if w.Name != "" {
		if err := holdfast.ValidName("worker", w.Name); err != nil {
			return err
		}
	}
	if w.Slots < 1 || w.Slots > maxSlots {
		return holdfast.Errorf(holdfast.CodeInvalid, "worker.slots %d is out of range", w.Slots).WithHint("use 1 to %d", maxSlots)
	}
	if w.ServiceSlots < 0 || w.ServiceSlots > maxSlots {
		return holdfast.Errorf(holdfast.CodeInvalid, "worker.service_slots %d is out of range", w.ServiceSlots).WithHint("use 0 to %d", maxSlots)
	}
	if w.ETLMemory != 0 && (w.ETLMemory < minETLMemory || w.ETLMemory > maxETLMemory) {
		return holdfast.Errorf(holdfast.CodeInvalid, "worker.etl_memory %s is out of range", w.ETLMemory).WithHint("use 64MiB to 1TiB, or leave it out")
	}
	if (w.MaintenanceAccessKey == "") != w.MaintenanceSecretKey.IsZero() {
		return holdfast.Errorf(holdfast.CodeInvalid, "of the access key for maintenance only one half is given").
			WithHint("set both %s and %s, or neither", envName("worker.maintenance_access_key"), envName("worker.maintenance_secret_key"))
	}
	if w.Drain < 0 || w.Drain > maxDrain {
		return holdfast.Errorf(holdfast.CodeInvalid, "worker.drain %s is out of range", w.Drain).WithHint("use 0s to %s", maxDrain)
	}
	for _, r := range w.RestoreRoots {
		if err := holdfast.CleanAbs("restore root", r); err != nil {
			return err
		}
	}
	for _, r := range w.ETLRoots {
		if err := holdfast.CleanAbs("ETL root", r); err != nil {
			return err
		}
	}
	return nil
}

func address(key, addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s %q is not an address", key, addr).
			WithHint("give host:port, such as %s, or :port for every address of this machine", DefaultListen)
	}
	return nil
}
