package repository

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

const benchBytes = 256 << 20

// benchFiles returns files that compress like tables, all different.
func benchFiles() []testNode {
	var files []testNode
	for i := range 4 {
		data := text(benchBytes/4, uint64(i+100))
		for at := 0; at < len(data); at += 64 { // or they would compress thirtyfold
			copy(data[at:], noise(12, uint64(at>>6)))
		}
		files = append(files, file(data))
	}
	return files
}

func benchWrite(b *testing.B, r *Repository, files []testNode) string {
	b.Helper()
	return benchWriteCut(b, r, files, nil)
}

// benchWriteCut is benchWrite with what says how many pages of a block have changed.
func benchWriteCut(b *testing.B, r *Repository, files []testNode, changed func([]byte) (int, int)) string {
	b.Helper()
	w, err := r.NewWriter(b.Context(), WriterOptions{Holder: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	for i, f := range files {
		f := f.file(fmt.Sprintf("pgdata/base/%d", i))
		f.Changed = changed
		if err := w.Add(b.Context(), f); err != nil {
			b.Fatal(err)
		}
	}
	id, err := w.Commit(b.Context(), testCommit(), intendNothing)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(w.Stats().AddedBytes)/(1<<20), "MB-stored")
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return id
}

func BenchmarkWriteNew(b *testing.B) {
	files := benchFiles()
	b.SetBytes(benchBytes)
	for b.Loop() {
		r, dir := newDirRepository(b)
		benchWrite(b, r, files)
		b.StopTimer()
		_ = os.RemoveAll(dir)
		b.StartTimer()
	}
}

func BenchmarkWriteKnown(b *testing.B) {
	files := benchFiles()
	r, _ := newDirRepository(b)
	benchWrite(b, r, files)
	b.SetBytes(benchBytes)
	for b.Loop() {
		benchWrite(b, r, files)
	}
}

func BenchmarkWriteSmallFiles(b *testing.B) {
	const n = 20_000
	for b.Loop() {
		r := newRepository(b, mem.New())
		w, err := r.NewWriter(b.Context(), WriterOptions{Holder: "bench"})
		if err != nil {
			b.Fatal(err)
		}
		for i := range n {
			if err := w.Add(b.Context(), file(noise(200, uint64(i))).file(fmt.Sprintf("d/%d", i))); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Commit(b.Context(), testCommit(), intendNothing); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// few says of every block that little of it has changed.
func few([]byte) (changed, pages int) { return 1, 64 }

func BenchmarkWriteKnownParts(b *testing.B) {
	files := benchFiles()
	r, _ := newDirRepository(b)
	benchWriteCut(b, r, files, few)
	b.SetBytes(benchBytes)
	for b.Loop() {
		benchWriteCut(b, r, files, few)
	}
}

func BenchmarkWriteNewParts(b *testing.B) {
	files := benchFiles()
	b.SetBytes(benchBytes)
	for b.Loop() {
		r, dir := newDirRepository(b)
		benchWriteCut(b, r, files, few)
		b.StopTimer()
		_ = os.RemoveAll(dir)
		b.StartTimer()
	}
}

func BenchmarkRestore(b *testing.B) { benchRestore(b, nil) }

func BenchmarkRestoreParts(b *testing.B) { benchRestore(b, few) }

func benchRestore(b *testing.B, changed func([]byte) (int, int)) {
	b.Helper()
	files := benchFiles()
	r, _ := newDirRepository(b)
	id := benchWriteCut(b, r, files, changed)
	b.SetBytes(benchBytes)
	for b.Loop() {
		dir := b.TempDir()
		rd, err := r.NewReader(b.Context(), id)
		if err != nil {
			b.Fatal(err)
		}
		var targets []engine.Target
		for i := range files {
			name := fmt.Sprintf("pgdata/base/%d", i)
			targets = append(targets, engine.Target{Path: name, Open: func() (engine.TargetFile, error) {
				return os.Create(filepath.Join(dir, filepath.Base(name)))
			}})
		}
		if err := rd.Fetch(b.Context(), targets); err != nil {
			b.Fatal(err)
		}
		if err := rd.Close(); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = os.RemoveAll(dir)
		b.StartTimer()
	}
}

func BenchmarkStages(b *testing.B) {
	block := benchFiles()[0].data[:blockSize]
	key, err := crypt.RandomKey()
	if err != nil {
		b.Fatal(err)
	}
	codec := compress.New()
	frame, err := codec.Encode(nil, block)
	if err != nil {
		b.Fatal(err)
	}
	room := make([]byte, blockSize+crypt.Overhead)
	for name, stage := range map[string]func(){
		"hash":       func() { hash.Sum(block) },
		"compress":   func() { _, _ = codec.Encode(room[:0], block) },
		"decompress": func() { _, _ = codec.Decode(room[:blockSize], frame) },
		"seal":       func() { _ = key.SealTo(room, block) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(blockSize)
			for b.Loop() {
				stage()
			}
		})
	}
}
