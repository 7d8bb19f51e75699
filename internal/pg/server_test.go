package pg_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/pg"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestAgainstServer compares what this package computes with what a real server
// says and wrote.
func TestAgainstServer(t *testing.T) {
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1, InitDB: []string{"--wal-segsize=4"}})
	p.Exec(t, "", `CREATE TABLE a AS SELECT i, repeat('x', 50) t FROM generate_series(1, 50000) i; CREATE INDEX ON a (i);
		CREATE TABLE b TABLESPACE ts1 AS SELECT i FROM generate_series(1, 50000) i`)
	p.Exec(t, "", "VACUUM a, b")

	for _, lsn := range []string{"0/2000028", "1/FFFFFFFF", "AB/12345678"} {
		l, err := pg.ParseLSN(lsn)
		if err != nil {
			t.Fatal(err)
		}
		got := pg.SegmentName(1, l, 4<<20)
		if want := p.Value(t, "", "SELECT pg_walfile_name($1::text::pg_lsn)", lsn); got != want {
			t.Errorf("segment of %s: got %s, want %s", lsn, got, want)
		}
	}
	path := p.Value(t, "", "SELECT pg_relation_filepath('b')")
	if f, ok := pg.ParseRelationPath(path); !ok || f.Fork != pg.ForkMain {
		t.Errorf("%s is not taken for a relation's file: %+v", path, f)
	}

	b, err := os.ReadFile(filepath.Join(p.DataDir, pg.ControlFile))
	if err != nil {
		t.Fatal(err)
	}
	c, err := pg.ParseControl(b)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(c.SystemIdentifier, c.ControlVersion, c.CatalogVersion, c.Checkpoint, c.Redo, c.Timeline,
		c.BlockSize, c.SegmentBlocks, c.WALBlockSize, c.WALSegmentSize, c.ChecksumVersion)
	want := p.Value(t, "", `SELECT concat_ws(' ', system_identifier, pg_control_version, catalog_version_no, checkpoint_lsn, redo_lsn,
		timeline_id, database_block_size, blocks_per_segment, wal_block_size, bytes_per_wal_segment, data_page_checksum_version)
		FROM pg_control_system(), pg_control_checkpoint(), pg_control_init()`)
	if got != want {
		t.Errorf("pg_control: got %s, want %s", got, want)
	}
	if c.State != pg.StateInProduction || !c.DataChecksums() {
		t.Errorf("pg_control: got state %d, checksums %v", c.State, c.DataChecksums())
	}

	p.Stop(t, testkit.Fast)
	pages := checkPages(t, p.DataDir, "", c) + checkPages(t, p.Tablespaces[0], "pg_tblspc/16390/", c)
	if pages < 1000 {
		t.Errorf("only %d pages were seen", pages)
	}
}

// checkPages checks every page below dir, and returns how many there are.
func checkPages(t *testing.T, dir, prefix string, c pg.Control) (pages int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		f, ok := pg.ParseRelationPath(prefix + rel)
		if !ok {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for i := 0; i+int(c.BlockSize) <= len(b); i += int(c.BlockSize) {
			block := f.Segment*c.SegmentBlocks + uint32(i)/c.BlockSize
			if !pg.PageIsGood(b[i:i+int(c.BlockSize)], block) {
				t.Errorf("%s: page %d is bad", prefix+rel, block)
			}
			pages++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return pages
}
