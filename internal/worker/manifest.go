package worker

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository"
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
	m, err := readManifest(ctx, src)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return ""
	case err != nil:
		return untold + holdfast.ErrorMessage(err)
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

// manifestVersion is the version of SetFile that is written, and the newest that is
// read.
const manifestVersion = 1

// ReadManifest reads what a snapshot with the tag set= says of its set. CodeInvalid when
// it cannot be read, says something else than the snapshot's own tags, or is of a version
// that this program does not know.
func ReadManifest(ctx context.Context, src engine.Source, s repository.Snapshot) (SetManifest, error) {
	m, err := readManifest(ctx, src)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return m, holdfast.Wrap(holdfast.CodeInvalid, err, "its /%s is not there: %s", SetFile, holdfast.ErrorMessage(err))
	}
	if err != nil {
		return m, err
	}
	for key, want := range map[string]string{
		"set": number(m.Set), "execution": number(m.Execution), "installation": m.Installation, "fence": strconv.FormatUint(uint64(m.Fence), 10),
		"site": m.SiteSlug,
	} {
		if got, ok := s.Tag(key); !ok || got != want {
			return m, holdfast.Errorf(holdfast.CodeInvalid, "its /%s and its tag %s= do not say the same", SetFile, key).
				WithHint("somebody has changed the tags, as restic tag does")
		}
	}
	return m, nil
}

// number writes an id as tags have it.
func number[T ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// readManifest reads what a set says of itself. CodeNotFound when it says nothing.
func readManifest(ctx context.Context, src engine.Source) (m SetManifest, err error) {
	b, err := src.ReadFile(ctx, SetFile, maxManifest)
	if err != nil {
		return m, err
	}
	// The version first: a later one may have fields that this program cannot read.
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return m, holdfast.Wrap(holdfast.CodeInvalid, err, "its /%s is not the JSON of one", SetFile)
	}
	if v.Version != manifestVersion {
		return m, holdfast.Errorf(holdfast.CodeInvalid, "its /%s is of version %d, and this program knows version %d", SetFile, v.Version, manifestVersion).
			WithHint("use the version of holdfast that wrote it, or a newer one")
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, holdfast.Wrap(holdfast.CodeInvalid, err, "its /%s is not the JSON of one", SetFile)
	}
	return m, nil
}
