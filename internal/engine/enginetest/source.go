package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// DirSource is an engine.Source of what a DirSink stored.
type DirSource struct {
	// BeforeFetch is called before a file is fetched; an error ends the fetch.
	// May be nil.
	BeforeFetch func(ctx context.Context, path string) error

	dir   string
	nodes map[string]engine.Node
}

var _ engine.Source = (*DirSource)(nil)

// sourceFile is a DirSource at rest.
type sourceFile struct {
	Dir   string
	Nodes map[string]engine.Node
}

// Save writes the source to a file, for a process that the test starts.
func (s *DirSource) Save(name string) error {
	b, err := json.Marshal(sourceFile{s.dir, s.nodes})
	if err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o644) //nolint:gosec // the process may be another user's
}

// LoadDirSource reads what Save has written.
func LoadDirSource(name string) (*DirSource, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var f sourceFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	return &DirSource{dir: f.Dir, nodes: f.Nodes}, nil
}

// Put adds a node, or changes one: a set that no engine of ours would write.
func (s *DirSource) Put(n engine.Node) { s.nodes[n.Path] = n }

// Remove takes a node out of the set.
func (s *DirSource) Remove(path string) { delete(s.nodes, path) }

// Paths returns the paths of all nodes, parents first.
func (s *DirSource) Paths() []string {
	paths := make([]string, 0, len(s.nodes))
	for p := range s.nodes {
		paths = append(paths, p)
	}
	slices.SortFunc(paths, func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
	return paths
}

// Walk visits every node.
func (s *DirSource) Walk(ctx context.Context, fn func(engine.Node) error) error {
	for _, p := range s.Paths() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := fn(s.nodes[p]); err != nil {
			return err
		}
	}
	return nil
}

// ReadFile returns a small file.
func (s *DirSource) ReadFile(_ context.Context, path string, limit int64) ([]byte, error) {
	n, ok := s.nodes[path]
	switch {
	case !ok:
		return nil, holdfast.Errorf(holdfast.CodeNotFound, "the set has no %s", path)
	case n.Size > limit:
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s has %d bytes", path, n.Size)
	}
	return os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(path)))
}

// Fetch writes the files, several at once, in an order of its own.
func (s *DirSource) Fetch(ctx context.Context, targets []engine.Target) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for _, t := range slices.Backward(targets) {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error { return s.fetch(gctx, t) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

func (s *DirSource) fetch(ctx context.Context, t engine.Target) (err error) {
	n, ok := s.nodes[t.Path]
	if !ok {
		return holdfast.Errorf(holdfast.CodeNotFound, "the set has no %s", t.Path)
	}
	if s.BeforeFetch != nil {
		if err := s.BeforeFetch(ctx, t.Path); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	in, err := os.Open(filepath.Join(s.dir, filepath.FromSlash(t.Path)))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := t.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(n.Size); err != nil {
		return err
	}
	block := make([]byte, BlockSize)
	for off := int64(0); off < n.Size; off += BlockSize {
		b := block[:min(BlockSize, n.Size-off)]
		if _, err := in.ReadAt(b, off); err != nil {
			return err
		}
		if !allZero(b) {
			if _, err := out.WriteAt(b, off); err != nil {
				return err
			}
		}
		if t.Progress != nil {
			t.Progress(int64(len(b)))
		}
	}
	return nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
