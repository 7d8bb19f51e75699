package etl

import (
	"bytes"
	"encoding/hex"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// FuzzParquetWriter holds the reader of COPY streams to errors, whatever comes, and
// its two ways of reading numbers to the same result.
func FuzzParquetWriter(f *testing.F) {
	head, err := hex.DecodeString("5047434f50590aff0d0a000000000000000000")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(head, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), 2)
	f.Add(append(head, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1), 2)
	f.Add([]byte{0, 2, 0, 0, 0, 0, 0, 2, 0, 12, 0x0d, 0x48}, 2)
	f.Fuzz(func(t *testing.T, b []byte, scale int) {
		if scale < 0 || scale > 18 || len(b) > 1<<16 {
			return
		}
		columns := []column{{name: "n", oid: pgtype.NumericOID, full: "numeric(18,2)"}, {name: "d", oid: pgtype.DateOID, full: "date"}}
		p := newParquetWriter(&bytes.Buffer{}, columns)
		if _, err := p.run(bytes.NewReader(b)); err == nil {
			if err := p.close(); err != nil {
				t.Error(err)
			}
		}
		small, ok := scaledSmall(b, scale)
		if !ok {
			return
		}
		if n, err := scaled(b, scale, 127); err != nil || !n.IsInt64() || n.Int64() != small {
			t.Errorf("%x at scale %d: got %d, want %v (%v)", b, scale, small, n, err)
		}
	})
}
