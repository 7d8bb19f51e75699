package worker

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// SetFile is where a set says what it is, so that a catalogue can be rebuilt
// from the repository alone.
const SetFile = "holdfast/set.json"

// SetManifest is the content of SetFile.
type SetManifest struct {
	Version      int                  `json:"version"` // 1
	Installation string               `json:"installation"`
	Account      holdfast.AccountID   `json:"account"`
	Site         holdfast.SiteID      `json:"site"`
	SiteSlug     string               `json:"site_slug"`
	Job          holdfast.JobID       `json:"job"`
	JobName      string               `json:"job_name"`
	Execution    holdfast.ExecutionID `json:"execution"`
	Fence        holdfast.Fence       `json:"fence"`
	Set          holdfast.SetID       `json:"set"`
	Engine       holdfast.Engine      `json:"engine"`
	RunType      holdfast.RunType     `json:"run_type"`
	Parent       holdfast.SetID       `json:"parent,omitempty"`   // the set before it in its chain
	Created      time.Time            `json:"created"`            // by this worker's clock
	Server       *SetServer           `json:"server,omitempty"`   // of the site; nil: in sets of older versions
	DataDir      string               `json:"data_dir,omitempty"` // of the site
	Result       engine.Result        `json:"result"`
	Repaired     *Repaired            `json:"repaired,omitempty"` // nil: the set is as it was taken
}

// SetServer is how the site's server was reached, without its password.
type SetServer struct {
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
	User     string `json:"user"`
	Database string `json:"database,omitempty"`
	SSLMode  string `json:"sslmode,omitempty"`
}

// maxManifest bounds what is read of a SetFile, in bytes.
const maxManifest = 16 << 20

// DamagedTag is the key of the snapshot's tag that a damaged set has, or one that has
// lost something since, so that a list of snapshots shows it.
const DamagedTag = "damaged"

func damagedTag(res engine.Result) []string {
	if res.Damaged == "" {
		return nil
	}
	return []string{DamagedTag + "=yes"}
}

// Damage says what is known to be damaged in a set, or missing, as a warning for whoever
// restores it; empty when nothing is, or when the set does not say. A set that
// cannot tell is no reason not to restore it: that is a warning, too.
func Damage(ctx context.Context, src engine.Source) string {
	const untold = "the backup set cannot say whether it was damaged when it was taken: "
	b, err := src.ReadFile(ctx, SetFile, maxManifest)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return ""
	}
	if err != nil {
		return untold + holdfast.ErrorMessage(err)
	}
	var m SetManifest
	if err := json.Unmarshal(b, &m); err != nil {
		return untold + SetFile + " is not valid"
	}
	var all []string
	if m.Repaired != nil {
		all = append(all, m.Repaired.warning())
	}
	if m.Result.Damaged != "" {
		all = append(all, "the backup set was damaged when it was taken: "+m.Result.Damaged)
	}
	return strings.Join(all, "; ")
}
