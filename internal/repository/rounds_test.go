package repository

import (
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

var roundsRows = flag.Int("rows", 100_000, "rows of BenchmarkRounds: 100,000 are 17 MB")

// BenchmarkRounds says how many MB each of some backups in a row adds, with blocks that
// stay whole and with blocks that are cut, of tables of a real server. The rounds are
// those of phase seq of bench/peers.sh.
func BenchmarkRounds(b *testing.B) {
	rows := *roundsRows
	p := testkit.StartPostgres(b, testkit.PostgresOptions{Conf: map[string]string{"autovacuum": "off", "max_wal_size": "4GB", "fsync": "off"}})
	for _, sql := range []string{
		fmt.Sprintf("CREATE TABLE accounts AS SELECT aid, 1 AS bid, 0 AS abalance, ''::char(84) AS filler FROM generate_series(1, %d) aid", rows),
		"ALTER TABLE accounts ADD PRIMARY KEY (aid)",
		fmt.Sprintf(`CREATE TABLE docs AS SELECT i AS id, string_agg(word, ' ' ORDER BY k) AS body, jsonb_build_object('uuid', md5(i::text), 'score', random()) AS attrs
			FROM generate_series(1, %d) i, LATERAL (SELECT k, 'w' || (random() * random() * 6000)::int + 0 * i AS word FROM generate_series(1, 100) k) w GROUP BY i`, rows/20),
		"VACUUM (FREEZE, ANALYZE)",
	} {
		p.Exec(b, "", sql)
	}
	dir := filepath.Join(p.DataDir, filepath.Dir(p.Value(b, "", "SELECT pg_relation_filepath('accounts')")))
	type chain struct {
		r     *Repository
		total int64
	}
	chains := map[string]*chain{}
	for _, name := range []string{"whole", "parts"} {
		r, _ := newDirRepository(b)
		chains[name] = &chain{r: r}
	}
	var before uint64
	for _, round := range []struct{ name, sql string }{
		{"full", ""},
		{"spread1", spread(1, 100)},
		{"spread2", spread(2, 100)},
		{"spread3", spread(3, 100)},
		{"sparse1", spread(4, 2000)},
		{"sparse2", spread(5, 2000)},
		{"sparse3", spread(6, 2000)},
		{"cluster1", cluster(1)},
		{"cluster2", cluster(2)},
	} {
		if round.sql != "" {
			p.Exec(b, "", round.sql)
		}
		p.Exec(b, "", "CHECKPOINT")
		var hi, lo uint64
		if _, err := fmt.Sscanf(p.Value(b, "", "SELECT pg_current_wal_insert_lsn()"), "%X/%X", &hi, &lo); err != nil {
			b.Fatal(err)
		}
		line := fmt.Sprintf("%-9s", round.name)
		for _, name := range []string{"whole", "parts"} {
			c := chains[name]
			var changed func([]byte) (int, int)
			if name == "parts" && before > 0 {
				changed = lsnAbove(before)
			}
			added := addTables(b, c.r, dir, changed)
			c.total += added
			line += fmt.Sprintf("  %s %8.2f", name, float64(added)/1e6)
			b.ReportMetric(float64(added)/1e6, name+"-"+round.name+"-MB")
		}
		before = hi<<32 | lo
		b.Log(line)
	}
	for name, c := range chains {
		b.ReportMetric(float64(c.total)/1e6, name+"-MB")
	}
}

func spread(n, of int) string {
	return fmt.Sprintf("UPDATE accounts SET abalance = abalance + 1 WHERE (hashint4(aid + %d * 7919) & 2147483647) %% %d = 0", n, of)
}

func cluster(n int) string {
	return fmt.Sprintf(`UPDATE accounts SET abalance = abalance + 1 WHERE aid BETWEEN (SELECT max(aid) * (0.60 + %[1]d * 0.02) FROM accounts) AND (SELECT max(aid) * (0.61 + %[1]d * 0.02) FROM accounts);
		INSERT INTO docs SELECT id + (SELECT max(id) FROM docs), reverse(body), attrs FROM docs WHERE id <= (SELECT max(id) * 0.01 FROM docs)`, n)
}

// lsnAbove counts the pages of PostgreSQL that were changed after a position of WAL.
func lsnAbove(before uint64) func([]byte) (int, int) {
	return func(block []byte) (changed, n int) {
		for ; len(block) >= testPage; block = block[testPage:] {
			n++
			if uint64(binary.LittleEndian.Uint32(block))<<32|uint64(binary.LittleEndian.Uint32(block[4:])) > before {
				changed++
			}
		}
		return changed, n
	}
}

// addTables stores the files of a database and returns how many bytes that added.
func addTables(b *testing.B, r *Repository, dir string, changed func([]byte) (int, int)) int64 {
	b.Helper()
	w, err := r.NewWriter(b.Context(), WriterOptions{Holder: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		f := engine.File{
			Node:    engine.Node{Path: "pgdata/base/5/" + e.Name(), Mode: 0o600, ModTime: fi.ModTime(), Size: fi.Size()},
			Open:    func() (engine.Content, error) { return os.Open(filepath.Join(dir, e.Name())) },
			Changed: changed,
		}
		if err := w.Add(b.Context(), f); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.Commit(b.Context(), testCommit(), intendNothing); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return w.Stats().AddedBytes
}
