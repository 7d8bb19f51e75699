package enginetest

import (
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Report is an engine.Report that remembers.
type Report struct {
	// OnPhase is called when a phase begins; may be nil.
	OnPhase func(name string)

	mu         sync.Mutex // guards the fields below
	phases     []string
	totalFiles int64
	totalBytes int64
	doneFiles  int64
	doneBytes  int64
}

var _ engine.Report = (*Report)(nil)

// Phase remembers the phase.
func (r *Report) Phase(name string) {
	r.mu.Lock()
	r.phases = append(r.phases, name)
	r.mu.Unlock()
	if r.OnPhase != nil {
		r.OnPhase(name)
	}
}

// Total remembers how much there is to do.
func (r *Report) Total(files, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.totalFiles, r.totalBytes = files, bytes
}

// Done adds to what is done.
func (r *Report) Done(files, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.doneFiles += files
	r.doneBytes += bytes
}

// Phases returns the phases so far.
func (r *Report) Phases() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.phases)
}

// Counts returns what is done and what there is to do.
func (r *Report) Counts() (doneFiles, totalFiles, doneBytes, totalBytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doneFiles, r.totalFiles, r.doneBytes, r.totalBytes
}
