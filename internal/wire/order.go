package wire

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Order is everything that a worker gets to run an execution once.
type Order struct {
	Request      string               `json:"request"` // of the ask that it answers
	Installation string               `json:"installation"`
	Account      holdfast.AccountID   `json:"account"`
	Execution    holdfast.ExecutionID `json:"execution"`
	Fence        holdfast.Fence       `json:"fence"`
	Type         holdfast.JobType     `json:"type"`
	Engine       holdfast.Engine      `json:"engine"`
	Job          holdfast.JobID       `json:"job"`
	JobName      string               `json:"job_name"`
	Site         Site                 `json:"site"`
	Repository   Repository           `json:"repository"`

	RunType       holdfast.RunType      `json:"run_type,omitempty"`        // of a backup
	RunTypeReason string                `json:"run_type_reason,omitempty"` // why it is not what was asked for
	Base          *Base                 `json:"base,omitempty"`            // nil for a FULL
	Set           holdfast.SetID        `json:"set"`                       // reserved for a backup; the source of a restore
	Restore       *holdfast.RestoreSpec `json:"restore,omitempty"`
	Target        *Site                 `json:"target,omitempty"`   // in whose data directory a restore in place writes
	Snapshot      string                `json:"snapshot,omitempty"` // of a restore's source
	AbortAfter    time.Duration         `json:"abort_after,omitempty"`
	ETL           *ETL                  `json:"etl,omitempty"`

	// Sealed holds Secrets, sealed to the worker's key.
	Sealed []byte `json:"sealed,omitempty"`
}

// Base is the set that a backup builds on.
type Base struct {
	Set              holdfast.SetID `json:"set"`
	SystemIdentifier uint64         `json:"system_identifier,string"` // of its cluster; zero: its engine knows none
	Snapshot         string         `json:"snapshot,omitempty"`       // of its copy in the order's repository; empty: not known
}

// Site is a site as it stands in an order. Its password is among the secrets.
type Site struct {
	ID      holdfast.SiteID `json:"id"`
	Slug    string          `json:"slug"`
	Server  holdfast.Server `json:"server"`
	DataDir string          `json:"data_dir"`

	Reading     holdfast.Reading     `json:"reading,omitempty"`
	Compression holdfast.Compression `json:"compression,omitempty"`
	BytesPerSec int64                `json:"bytes_per_sec,omitempty"` // of the repository, read and written; 0: no limit
}

// Repository is a repository as it stands in an order. Its password, and its access,
// are among the secrets.
type Repository struct {
	ID       holdfast.RepositoryID `json:"id"`
	Location string                `json:"location"`
	FormatID string                `json:"format_id"`
}

// Validate checks the order.
func (o *Order) Validate() error {
	err := first(
		request(o.Request), fenced(o.Fence), positive("execution", o.Execution), positive("account", o.Account),
		positive("job", o.Job), o.Site.validate(), short("job name", o.JobName, 4*holdfast.MaxJobName),
		short("installation", o.Installation, maxText), short("secrets", string(o.Sealed), maxSealed),
		short("engine", string(o.Engine), maxText), short("reason of the run type", o.RunTypeReason, MaxDetail),
	)
	if err != nil {
		return err
	}
	if o.AbortAfter < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "a time limit of %s is negative", o.AbortAfter)
	}
	switch o.Type {
	case holdfast.JobBackup:
		if _, err := holdfast.ParseRunType(string(o.RunType)); err != nil {
			return err
		}
		if o.Base != nil {
			if err := o.Base.validate(); err != nil {
				return err
			}
		}
		return first(o.Repository.validate(), positive("backup set", o.Set))
	case holdfast.JobRestore:
		if o.Restore == nil {
			return holdfast.Errorf(holdfast.CodeInvalid, "an order to restore does not say where")
		}
		if (o.Restore.Site != 0) != (o.Target != nil) || o.Target != nil && o.Target.ID != o.Restore.Site {
			return holdfast.Errorf(holdfast.CodeInvalid, "an order to restore in place does not say into which site")
		}
		if o.Target != nil {
			if err := o.Target.validate(); err != nil {
				return err
			}
		}
		return first(o.Repository.validate(), positive("backup set", o.Set), hexID("snapshot", o.Snapshot), o.Restore.Validate())
	case holdfast.JobETL:
		return o.ETL.validate()
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "job type %q is unknown", Clip(string(o.Type), maxText))
}

func (b *Base) validate() error {
	if b.Snapshot == "" {
		return positive("base", b.Set)
	}
	return first(positive("base", b.Set), hexID("snapshot of the base", b.Snapshot))
}

func (s *Site) validate() error {
	if s.BytesPerSec < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "a limit of %d bytes a second is negative", s.BytesPerSec)
	}
	return first(
		positive("site", s.ID), short("slug", s.Slug, maxText), short("data directory", s.DataDir, maxPath),
		short("server's host", s.Server.Host, maxPath), short("server's user", s.Server.User, maxText),
		short("server's database", s.Server.Database, maxText), short("sslmode", s.Server.SSLMode, maxText),
		short("reading", string(s.Reading), maxText), short("compression", string(s.Compression), maxText),
	)
}

func (r *Repository) validate() error {
	return first(
		positive("repository", r.ID), short("location", r.Location, maxPath), short("format id", r.FormatID, maxText),
	)
}

// Secrets is what a worker needs to open for one execution or command, and must
// keep in memory only.
type Secrets struct {
	Site       holdfast.Secret                     // the site's password; empty: none is needed
	Repository holdfast.Secret                     // the repository's password
	Access     holdfast.ObjectAccess               // to the object store where the repository stands; zero: none is needed
	Sites      map[holdfast.SiteID]holdfast.Secret // passwords of the sites of an ETL that need one
	Properties map[string]string                   // of an ETL's execution, merged; any of them may be a secret
}

// secretsJSON is Secrets in the clear; it exists only inside of a sealed box.
type secretsJSON struct {
	Site       string                     `json:"site,omitempty"`
	Repository string                     `json:"repository,omitempty"`
	Access     string                     `json:"access,omitempty"` // packed
	Sites      map[holdfast.SiteID]string `json:"sites,omitempty"`
	Properties map[string]string          `json:"properties,omitempty"`
}

// Pack turns the secrets into one that can be sealed. CodeInvalid when an ETL has
// too many properties.
func (s Secrets) Pack() (holdfast.Secret, error) {
	if err := validProperties(s.Properties); err != nil {
		return holdfast.Secret{}, err
	}
	access, err := s.Access.Pack()
	if err != nil {
		return holdfast.Secret{}, err
	}
	j := secretsJSON{Site: s.Site.Reveal(), Repository: s.Repository.Reveal(), Access: access.Reveal(), Properties: s.Properties}
	if len(s.Sites) > 0 {
		j.Sites = make(map[holdfast.SiteID]string, len(s.Sites))
		for id, secret := range s.Sites {
			j.Sites[id] = secret.Reveal()
		}
	}
	b, err := encode(j)
	if err != nil {
		return holdfast.Secret{}, fmt.Errorf("encode secrets: %w", err)
	}
	return holdfast.NewSecret(string(b)), nil
}

// UnpackSecrets is the reverse of Pack. Its errors show nothing of the secrets.
func UnpackSecrets(packed holdfast.Secret) (Secrets, error) {
	var j secretsJSON
	if err := json.Unmarshal([]byte(packed.Reveal()), &j); err != nil {
		return Secrets{}, holdfast.Errorf(holdfast.CodeInvalid, "the opened secrets are not valid")
	}
	if err := validProperties(j.Properties); err != nil {
		return Secrets{}, err
	}
	access, err := holdfast.UnpackObjectAccess(holdfast.NewSecret(j.Access))
	if err != nil {
		return Secrets{}, err
	}
	s := Secrets{Site: holdfast.NewSecret(j.Site), Repository: holdfast.NewSecret(j.Repository), Access: access, Properties: j.Properties}
	if len(j.Sites) > 0 {
		s.Sites = make(map[holdfast.SiteID]holdfast.Secret, len(j.Sites))
		for id, secret := range j.Sites {
			s.Sites[id] = holdfast.NewSecret(secret)
		}
	}
	return s, nil
}
