package worker

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// manifestVersion is the version of SetFile that is written, and the newest that is
// read.
const manifestVersion = 1

// ReadManifest reads what a snapshot with the tag set= says of its set. CodeInvalid when
// it cannot be read, says something else than the snapshot's own tags, or is of a version
// that this program does not know.
func ReadManifest(ctx context.Context, src engine.Source, s repository.Snapshot) (m SetManifest, err error) {
	b, err := src.ReadFile(ctx, SetFile, maxManifest)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return m, holdfast.Wrap(holdfast.CodeInvalid, err, "its /%s is not there: %s", SetFile, holdfast.ErrorMessage(err))
	}
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

func number[T ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }
