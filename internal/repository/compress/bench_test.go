package compress_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

const blockSize = 512 << 10

// tables are statements that fill a table each, and a column that tells what it is
// like.
var tables = map[string]string{
	"pgbench":   "SELECT i AS aid, 1 AS bid, 0 AS abalance, ''::char(84) AS filler FROM generate_series(1, 60000) i",
	"documents": "SELECT i, md5(i::text) AS k, jsonb_build_object('id', i, 'name', 'customer ' || i % 977, 'tags', ARRAY[md5((i % 50)::text), 'x']) AS j FROM generate_series(1, 30000) i",
	"noise":     "SELECT i, decode(string_agg(md5(i::text || j), ''), 'hex') AS b FROM generate_series(1, 3000) i, generate_series(1, 100) j GROUP BY i",
}

// pages returns some blocks of a table of a real server.
func pages(b *testing.B, p *testkit.Postgres, name string) [][]byte {
	b.Helper()
	p.Exec(b, "", "CREATE TABLE "+name+" AS "+tables[name])
	p.Exec(b, "", "CHECKPOINT")
	data, err := os.ReadFile(filepath.Join(p.DataDir, p.Value(b, "", "SELECT pg_relation_filepath('"+name+"')")))
	if err != nil {
		b.Fatal(err)
	}
	var blocks [][]byte
	for ; len(data) >= blockSize && len(blocks) < 8; data = data[blockSize:] {
		blocks = append(blocks, data[:blockSize])
	}
	if len(blocks) == 0 {
		b.Fatalf("table %s has %d bytes", name, len(data))
	}
	return blocks
}

// BenchmarkLevels says what each level costs and saves on pages of tables.
func BenchmarkLevels(b *testing.B) {
	p := testkit.StartPostgres(b, testkit.PostgresOptions{})
	c := compress.New()
	room := make([]byte, 0, compress.Bound(blockSize))
	for name := range tables {
		blocks := pages(b, p, name)
		for _, l := range []compress.Level{1, 3, 6, 9, 12, 15, 17, 19} {
			b.Run(fmt.Sprintf("%s/%d", name, l), func(b *testing.B) {
				b.SetBytes(blockSize)
				in, out := 0, 0
				for i := 0; b.Loop(); i++ {
					block := blocks[i%len(blocks)]
					frame, err := c.EncodeLevel(room, block, l)
					if err != nil {
						b.Fatal(err)
					}
					in, out = in+len(block), out+len(frame)
				}
				b.ReportMetric(100*float64(out)/float64(in), "%stored")
			})
		}
	}
}
