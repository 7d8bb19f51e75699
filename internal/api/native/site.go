package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// testTimeout is how long a test of a site may take: a worker tries to connect.
const testTimeout = time.Minute

// Site is a PostgreSQL server that we protect.
type Site struct {
	ID           holdfast.SiteID       `json:"id"`
	Slug         string                `json:"slug"`
	Name         string                `json:"name,omitempty"`
	HostID       holdfast.HostID       `json:"host_id"`
	Host         string                `json:"host,omitempty" doc:"Name of the host"`
	Server       Server                `json:"server"`
	HasPassword  bool                  `json:"has_password"`
	DataDir      string                `json:"data_dir,omitempty" doc:"Left out: the site is for ETLs only"`
	Pool         string                `json:"pool"`
	RepositoryID holdfast.RepositoryID `json:"repository_id,omitempty"`
	Repository   string                `json:"repository,omitempty" doc:"Name of the default repository"`
	MaxRunning   int                   `json:"max_running" doc:"Executions at once; 0: no limit"`
	Reading      holdfast.Reading      `json:"reading" enum:"trust,read-all"`
	Compression  holdfast.Compression  `json:"compression" enum:"fastest,default,max,off"`
	BytesPerSec  int64                 `json:"bytes_per_second" doc:"That one backup or restore reads from its repository, and writes to it, at most; 0: no limit"`
	Created      time.Time             `json:"created"`
}

// Server says how to reach a PostgreSQL server.
type Server struct {
	Host     string `json:"host" maxLength:"255" doc:"Name, address, or the directory of a Unix socket"`
	Port     uint16 `json:"port" minimum:"1"`
	User     string `json:"user" maxLength:"63"`
	Database string `json:"database,omitempty" maxLength:"63"`
	SSLMode  string `json:"sslmode,omitempty" enum:"disable,allow,prefer,require,verify-ca,verify-full"`
}

// NewSite asks for a site.
type NewSite struct {
	Slug       string          `json:"slug" maxLength:"63"`
	Name       string          `json:"name,omitempty" maxLength:"255"`
	Host       string          `json:"host" doc:"Id or name of the host"`
	Server     Server          `json:"server"`
	Password   holdfast.Secret `json:"password,omitzero" doc:"Of the server's user; stored sealed, never shown"`
	DataDir    string          `json:"data_dir,omitempty" maxLength:"4096" doc:"Absolute path on the host; left out: the site is for ETLs only, and cannot be backed up"`
	Pool       string          `json:"pool,omitempty" maxLength:"63"`
	Repository string          `json:"repository,omitempty" doc:"Id or name of the default repository"`
	MaxRunning int             `json:"max_running,omitempty" minimum:"0" maximum:"1000000"`
	// Left out: trust, default.
	Reading     holdfast.Reading     `json:"reading,omitempty" enum:"trust,read-all" doc:"trust: a DELTA does not read files whose size, inode and times are those of the set before; read-all: every backup reads every file"`
	Compression holdfast.Compression `json:"compression,omitempty" enum:"fastest,default,max,off"`
	BytesPerSec int64                `json:"bytes_per_second,omitempty" minimum:"0" doc:"That one backup or restore reads from its repository, and writes to it, at most: from 1048576; 0: no limit"`
}

// SiteChange changes what it names and leaves the rest; the slug stays for good.
type SiteChange struct {
	Name       *string         `json:"name,omitempty" maxLength:"255"`
	Host       *string         `json:"host,omitempty" doc:"Id or name of the host"`
	Server     *Server         `json:"server,omitempty"`
	Password   holdfast.Secret `json:"password,omitzero" doc:"Left out: the old one stays"`
	NoPassword bool            `json:"no_password,omitempty" doc:"Forget the password"`
	DataDir    *string         `json:"data_dir,omitempty" maxLength:"4096"`
	Pool       *string         `json:"pool,omitempty" maxLength:"63"`
	Repository *string         `json:"repository,omitempty" doc:"Id or name"`
	MaxRunning *int            `json:"max_running,omitempty" minimum:"0" maximum:"1000000"`

	Reading     *holdfast.Reading     `json:"reading,omitempty" enum:"trust,read-all"`
	Compression *holdfast.Compression `json:"compression,omitempty" enum:"fastest,default,max,off"`
	BytesPerSec *int64                `json:"bytes_per_second,omitempty" minimum:"0" doc:"Holds at once, for executions that run, too"`
}

// Finding is one thing that a test of a site saw.
type Finding struct {
	Name string `json:"name" doc:"What was looked at"`
	OK   bool   `json:"ok"`
	Text string `json:"text" doc:"What was seen"`
	Fix  string `json:"fix,omitempty" doc:"What to do: a statement of SQL, or a sentence"`
}

// SiteTest is what a test of a site saw.
type SiteTest struct {
	OK       bool      `json:"ok" doc:"Nothing is missing"`
	Findings []Finding `json:"findings"`
}

// SiteTestOf says what a site is tested for.
type SiteTestOf struct {
	For holdfast.JobType `json:"for,omitempty" enum:"BACKUP,ETL" doc:"Left out: BACKUP, or ETL for a site without a data directory"`
}

func (n names) site(s holdfast.Site) Site {
	return Site{
		ID: s.ID, Slug: s.Slug, Name: s.Name, HostID: s.Host, Host: n.hostOf(s.Host),
		Server: Server{
			Host: s.Server.Host, Port: s.Server.Port, User: s.Server.User, Database: s.Server.Database, SSLMode: s.Server.SSLMode,
		},
		HasPassword: len(s.Password) > 0, DataDir: s.DataDir, Pool: s.Pool,
		RepositoryID: s.Repository, Repository: n.repositoryOf(s.Repository), MaxRunning: s.MaxRunning,
		Reading: s.Reading, Compression: s.Compression, BytesPerSec: s.BytesPerSec, Created: utc(s.Created),
	}
}

// SitePath names a site in a path.
type SitePath struct {
	Site string `path:"site" doc:"Id or slug"`
}

func (a *api) registerSites() {
	register(a, operation{id: "list-sites", method: http.MethodGet, path: "/sites", tag: "sites", summary: "List sites"}, a.listSites)
	register(a, operation{id: "create-site", method: http.MethodPost, path: "/sites", tag: "sites", summary: "Create a site", status: http.StatusCreated}, a.createSite)
	register(a, operation{id: "get-site", method: http.MethodGet, path: "/sites/{site}", tag: "sites", summary: "Get a site"},
		func(ctx context.Context, actor holdfast.Actor, in *SitePath) (*output[Site], error) {
			s, err := a.site(ctx, actor, in.Site)
			if err != nil {
				return nil, err
			}
			return a.oneSite(ctx, actor, s)
		})
	register(a, operation{id: "update-site", method: http.MethodPatch, path: "/sites/{site}", tag: "sites", summary: "Change a site"}, a.updateSite)
	register(a, operation{id: "delete-site", method: http.MethodDelete, path: "/sites/{site}", tag: "sites", summary: "Delete a site that has neither jobs nor backup sets"},
		func(ctx context.Context, actor holdfast.Actor, in *SitePath) (*none, error) {
			s, err := a.site(ctx, actor, in.Site)
			if err != nil {
				return nil, err
			}
			return &none{}, a.Service.DeleteSite(ctx, actor, s.ID)
		})
	register(a, operation{
		id: "test-site", method: http.MethodPost, path: "/sites/{site}/test", tag: "sites",
		summary: "Say what backups of the site, or ETLs, would miss", timeout: testTimeout,
	}, a.testSite)
}

func (a *api) listSites(ctx context.Context, actor holdfast.Actor, _ *none) (*listOutput[Site], error) {
	sites, err := a.Service.Sites(ctx, actor)
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return listOf(sites, -1, n.site), nil
}

func (a *api) createSite(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewSite }) (*created[Site], error) {
	b := in.Body
	h, err := a.host(ctx, actor, b.Host)
	if err != nil {
		return nil, err
	}
	s := holdfast.Site{
		Host: h.ID, Slug: b.Slug, Name: b.Name, DataDir: b.DataDir, Pool: b.Pool, MaxRunning: b.MaxRunning, Server: b.Server.domain(),
		Reading: b.Reading, Compression: b.Compression, BytesPerSec: b.BytesPerSec,
	}
	if s.Pool == "" {
		s.Pool = holdfast.DefaultPool
	}
	if b.Repository != "" {
		r, err := a.repository(ctx, actor, b.Repository)
		if err != nil {
			return nil, err
		}
		s.Repository = r.ID
	}
	s, err = a.Service.CreateSite(ctx, actor, service.NewSite{Site: s, Password: b.Password})
	if err != nil {
		return nil, err
	}
	one, err := a.oneSite(ctx, actor, s)
	if err != nil {
		return nil, err
	}
	return &created[Site]{Location: fmt.Sprintf("%s/sites/%d", Root, s.ID), Body: one.Body}, nil
}

func (s Server) domain() holdfast.Server {
	return holdfast.Server{Host: s.Host, Port: s.Port, User: s.User, Database: s.Database, SSLMode: s.SSLMode}
}

func (a *api) updateSite(ctx context.Context, actor holdfast.Actor, in *struct {
	SitePath
	Body SiteChange
},
) (*output[Site], error) {
	c := in.Body
	s, err := a.site(ctx, actor, in.Site)
	if err != nil {
		return nil, err
	}
	set(&s.Name, c.Name)
	set(&s.DataDir, c.DataDir)
	set(&s.Pool, c.Pool)
	set(&s.MaxRunning, c.MaxRunning)
	set(&s.Reading, c.Reading)
	set(&s.Compression, c.Compression)
	set(&s.BytesPerSec, c.BytesPerSec)
	if c.Server != nil {
		s.Server = c.Server.domain()
	}
	if c.Host != nil {
		h, err := a.host(ctx, actor, *c.Host)
		if err != nil {
			return nil, err
		}
		s.Host = h.ID
	}
	if c.Repository != nil {
		r, err := a.repository(ctx, actor, *c.Repository)
		if err != nil {
			return nil, err
		}
		s.Repository = r.ID
	}
	s, err = a.Service.UpdateSite(ctx, actor, service.NewSite{Site: s, Password: c.Password, NoPassword: c.NoPassword})
	if err != nil {
		return nil, err
	}
	return a.oneSite(ctx, actor, s)
}

func (a *api) oneSite(ctx context.Context, actor holdfast.Actor, s holdfast.Site) (*output[Site], error) {
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &output[Site]{Body: n.site(s)}, nil
}

type testSiteInput struct {
	SitePath
	Body *SiteTestOf
}

func (a *api) testSite(ctx context.Context, actor holdfast.Actor, in *testSiteInput) (*output[SiteTest], error) {
	s, err := a.site(ctx, actor, in.Site)
	if err != nil {
		return nil, err
	}
	var jobs holdfast.JobType
	if in.Body != nil {
		jobs = in.Body.For
	}
	findings, err := a.Service.TestSite(ctx, actor, s.ID, jobs)
	if err != nil {
		return nil, err
	}
	t := SiteTest{OK: true, Findings: make([]Finding, 0, len(findings))}
	for _, f := range findings {
		t.OK = t.OK && f.OK
		t.Findings = append(t.Findings, findingOf(f))
	}
	return &output[SiteTest]{Body: t}, nil
}

func findingOf(f engine.Finding) Finding {
	return Finding{Name: f.Name, OK: f.OK, Text: f.Text, Fix: f.Fix}
}
