package repository

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestStats(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	empty, err := r.Stats(t.Context())
	if err != nil || empty.Snapshots != 0 || empty.Blobs != 0 || empty.StoredBytes == 0 || empty.Dedup() != 0 || empty.Compression() != 0 || empty.Total() != 0 {
		t.Errorf("empty: got %+v, %v", empty, err)
	}
	shared := text(300_000, 1)
	for i := range 3 {
		backUp(t, r, set{
			"pgdata/shared": file(shared), "pgdata/again/shared": file(shared), "pgdata/other/again/shared": file(shared),
			fmt.Sprintf("pgdata/own %d", i): file(noise(100_000, uint64(i))),
		})
	}
	got, err := r.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Snapshots != 3 || got.Packs != 6 || got.Files != 12 || got.LogicalBytes != 3*(3*300_000+100_000) {
		t.Errorf("got %+v", got)
	}
	if d := got.Dedup(); d < 4 || d > 5 { // 3 MB of 600 KB, and the directories
		t.Errorf("got deduplication %.2f", d)
	}

	// The stock restic counts the same.
	var stock struct {
		Size  int64 `json:"total_size"`
		Files int64 `json:"total_file_count"`
		Blobs int   `json:"total_blob_count"`
	}
	for _, c := range []struct {
		mode string
		same func() bool
	}{
		{"restore-size", func() bool { return stock.Size == got.LogicalBytes }},
		{"raw-data", func() bool { return stock.Size == got.BlobBytes && stock.Blobs == got.Blobs }},
	} {
		if err := json.Unmarshal([]byte(restic(t, dir, "stats", "--json", "--mode", c.mode)), &stock); err != nil {
			t.Fatal(err)
		}
		if !c.same() {
			t.Errorf("%s: restic says %+v, we %+v", c.mode, stock, got)
		}
	}
	var onDisk int64
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			onDisk += info.Size()
		}
		return err
	})
	if err != nil || onDisk != got.StoredBytes {
		t.Errorf("got %d bytes stored, %d on disk, error %v", got.StoredBytes, onDisk, err)
	}
	if want := float64(got.LogicalBytes) / float64(onDisk); math.Abs(got.Total()-want) > 1e-9 || got.Compression() < 1.5 {
		t.Errorf("got ratios %.2f and %.2f", got.Total(), got.Compression())
	}
	if left := names(t, r.bucket, "locks/"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
