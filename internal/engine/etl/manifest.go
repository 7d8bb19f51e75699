package etl

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// manifestName is the file of a version that says what it is.
const manifestName = "manifest.json"

// maxManifest bounds a manifest that is read, in bytes.
const maxManifest = 16 << 20

// manifest says what a version holds, and who wrote it. The rename that makes the
// version visible commits rows, counters and fence together.
type manifest struct {
	Format       int                  `json:"format"` // 1
	Installation string               `json:"installation"`
	Job          holdfast.JobID       `json:"job"`
	Flow         string               `json:"flow"`
	Execution    holdfast.ExecutionID `json:"execution"`
	Identity     string               `json:"identity,omitempty"` // of the execution
	Fence        holdfast.Fence       `json:"fence"`
	Created      time.Time            `json:"created"`
	Read         int64                `json:"read"`
	Rows         int64                `json:"rows"`
	Rejected     int64                `json:"rejected,omitempty"`
	Columns      []engine.Column      `json:"columns"`
	Counters     map[string]counted   `json:"counters,omitempty"` // by extract
	Files        []written            `json:"files"`
}

// counted is a counter in a manifest.
type counted struct {
	Value     string               `json:"value"`
	Execution holdfast.ExecutionID `json:"execution"` // zero: a person set it
	Updated   time.Time            `json:"updated"`
	Basis     string               `json:"basis,omitempty"` // see [flow.basis]; empty: an earlier release wrote it
}

// written is a file of a version.
type written struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Rows   int64  `json:"rows"`
}

// encode is the manifest as it is written; one that could not be read again is
// refused.
func (m manifest) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	switch {
	case err != nil:
		return nil, fmt.Errorf("write the manifest: %w", err)
	case len(text) >= maxManifest:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the manifest of flow %s would have %d bytes", m.Flow, len(text)).
			WithHint("its counters are too long: move files that were loaded to another directory")
	}
	return append(text, '\n'), nil
}

// withCounter is a manifest with another value of an extract's counter; empty: without
// one.
func (f *flow) withCounter(m manifest, extract, value string) manifest {
	m.Counters = maps.Clone(m.Counters)
	if m.Counters == nil {
		m.Counters = map[string]counted{}
	}
	m.Counters[extract] = counted{Value: value, Updated: time.Now().UTC(), Basis: f.basis(f.input(extract), nil)}
	if value == "" {
		delete(m.Counters, extract)
	}
	return m
}
