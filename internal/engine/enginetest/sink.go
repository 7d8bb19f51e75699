// Package enginetest holds what tests of an engine need: a sink and a source that
// are plain directories, and the round trip that every engine passes.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/internal/engine"
)

// BlockSize is the size of the blocks that a DirSink shows to Inspect.
const BlockSize = 512 << 10

// Limits of a DirSink's pipeline.
const (
	filesAtOnce  = 3
	blocksAtOnce = 3
)

// DirSink is an engine.Sink that writes files to a directory. It reads several
// files at once and shows the blocks of one file from several goroutines, as a
// repository does, and fails the test when an engine breaks the contract.
type DirSink struct {
	// Before is called before a file is opened; may be nil.
	Before func(ctx context.Context, n engine.Node)

	t     testing.TB
	dir   string
	base  *DirSource // that it builds on; nil: none
	slots chan struct{}
	wg    sync.WaitGroup // files that are being stored

	mu    sync.Mutex // guards the fields below
	err   error      // the first one
	nodes map[string]engine.Node
}

var _ engine.Sink = (*DirSink)(nil)

// NewDirSink returns a sink that writes to a new directory.
func NewDirSink(t testing.TB) *DirSink {
	t.Helper()
	return &DirSink{t: t, dir: t.TempDir(), slots: make(chan struct{}, filesAtOnce), nodes: map[string]engine.Node{}}
}

// BuildOn lets the sink take from an earlier set what the engine says is the same.
func (s *DirSink) BuildOn(base *DirSource) { s.base = base }

// Dir returns the directory.
func (s *DirSink) Dir() string { return s.dir }

// Source returns a source of what was stored.
func (s *DirSink) Source() *DirSource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &DirSource{dir: s.dir, nodes: maps.Clone(s.nodes)}
}

// Add takes a file.
func (s *DirSink) Add(ctx context.Context, f engine.File) error {
	if err := s.check(f); err != nil {
		return s.fail(err)
	}
	select {
	case <-ctx.Done():
		return s.fail(context.Cause(ctx))
	case s.slots <- struct{}{}:
	}
	if err := s.failed(); err != nil {
		<-s.slots
		return err
	}
	s.wg.Go(func() {
		defer func() { <-s.slots }()
		if err := s.store(ctx, f); err != nil {
			_ = s.fail(fmt.Errorf("store %q: %w", f.Path, err)) // the next call returns it
		}
	})
	return nil
}

// Flush waits for everything that was added.
func (s *DirSink) Flush(ctx context.Context) error {
	s.wg.Wait()
	if ctx.Err() != nil {
		return s.fail(context.Cause(ctx))
	}
	return s.failed()
}

func (s *DirSink) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *DirSink) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	return s.err
}

// check fails the test on a node that breaks the contract.
func (s *DirSink) check(f engine.File) error {
	bad := func(why string) error {
		err := fmt.Errorf("node %q %s", f.Path, why)
		s.t.Error(err)
		return err
	}
	switch {
	case f.Path == "" || path.Clean(f.Path) != f.Path || path.IsAbs(f.Path) || strings.HasPrefix(f.Path, "..") || strings.ContainsRune(f.Path, 0):
		return bad("has no clean relative path")
	case f.Mode.IsRegular() != (f.Open != nil):
		return bad("has content and is no file, or the other way round")
	case f.Mode&fs.ModeSymlink != 0 && f.Link == "":
		return bad("is a link without a target")
	case !f.Mode.IsRegular() && !f.Mode.IsDir() && f.Mode&fs.ModeSymlink == 0:
		return bad("is of a kind that no set holds")
	case f.ModTime.IsZero():
		return bad("has no time")
	}
	return nil
}

func (s *DirSink) store(ctx context.Context, f engine.File) error {
	name := filepath.Join(s.dir, filepath.FromSlash(f.Path))
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	res := engine.FileResult{}
	switch {
	case f.Mode.IsDir():
		if err := os.MkdirAll(name, 0o700); err != nil {
			return err
		}
	case f.Mode&fs.ModeSymlink != 0:
		if err := os.Symlink(f.Link, name); err != nil {
			return err
		}
	case s.isSame(f):
		if err := os.Link(filepath.Join(s.base.dir, filepath.FromSlash(f.Path)), name); err != nil {
			return err
		}
		res = engine.FileResult{Size: f.Size, Unread: true}
	default:
		var err error
		if res, err = s.copy(ctx, f, name); err != nil {
			return err
		}
	}
	if !res.Vanished {
		n := f.Node
		if f.Mode.IsRegular() {
			n.Size = res.Size
		}
		s.mu.Lock()
		s.nodes[f.Path] = n
		s.mu.Unlock()
	}
	if f.Done != nil {
		f.Done(res)
	}
	return nil
}

// isSame reports whether the base has the file's content.
func (s *DirSink) isSame(f engine.File) bool {
	if s.base == nil || f.Same == nil {
		return false
	}
	n, ok := s.base.nodes[f.Path]
	return ok && n.Mode.IsRegular() && f.Same(n)
}

// copy reads one block after the other, up to the size of the node or the end of
// the content, and hands each to Inspect before it is written.
func (s *DirSink) copy(ctx context.Context, f engine.File, name string) (res engine.FileResult, err error) {
	if s.Before != nil {
		s.Before(ctx, f.Node)
	}
	content, err := f.Open()
	if errors.Is(err, engine.ErrVanished) {
		return engine.FileResult{Vanished: true}, nil
	}
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	out, err := os.Create(name)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(blocksAtOnce)
	for off := int64(0); off < f.Size && gctx.Err() == nil; {
		block := make([]byte, min(BlockSize, f.Size-off))
		n, err := content.ReadAt(block, off)
		if err != nil && !errors.Is(err, io.EOF) {
			return res, errors.Join(err, g.Wait())
		}
		if n == 0 {
			break
		}
		at, short := off, n < len(block)
		g.Go(func() error {
			if f.Inspect != nil {
				if err := f.Inspect(at, block[:n]); err != nil {
					return err
				}
			}
			_, err := out.WriteAt(block[:n], at)
			return err
		})
		off += int64(n)
		res.Size = off
		if short {
			break
		}
	}
	if err := g.Wait(); err != nil {
		return res, err
	}
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	return res, nil
}
