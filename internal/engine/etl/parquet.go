package etl

import (
	stdbinary "encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// Sizes of what is written at once.
const (
	parquetBatch    = 1024    // rows that are handed over together
	parquetBytes    = 4 << 20 // of long values in them
	parquetAhead    = 3       // batches that are read, or wait, or are written
	parquetRowGroup = 256_000 // rows
)

// Distance of PostgreSQL's epoch, 2000-01-01, from Unix's. Source:
// POSTGRES_EPOCH_JDATE in src/include/datatype/timestamp.h.
const (
	epochDays   = 10957
	epochMicros = epochDays * 86_400_000_000
)

// parquetType is how a PostgreSQL type stands in Parquet.
type parquetType struct {
	node  parquet.Node
	value func(b []byte) (parquet.Value, error) // of the type's binary form
}

var errParquetLength = errors.New("a value has a wrong length")

// fixed makes the value of a type whose binary form has a fixed length.
func fixed(length int, value func(b []byte) (parquet.Value, error)) func([]byte) (parquet.Value, error) {
	return func(b []byte) (parquet.Value, error) {
		if len(b) != length {
			return parquet.Value{}, errParquetLength
		}
		return value(b)
	}
}

func plainBytes(b []byte) (parquet.Value, error) { return parquet.ByteArrayValue(b), nil }

var numericModifier = regexp.MustCompile(`^numeric\(([0-9]+),([0-9]+)\)$`)

// parquetOf returns how a column stands in Parquet; false when its text does.
func parquetOf(c column) (parquetType, bool) {
	switch c.oid {
	case pgtype.BoolOID:
		return parquetType{parquet.Leaf(parquet.BooleanType), fixed(1, func(b []byte) (parquet.Value, error) { return parquet.BooleanValue(b[0] != 0), nil })}, true
	case pgtype.Int2OID:
		return parquetType{parquet.Int(16), fixed(2, func(b []byte) (parquet.Value, error) {
			return parquet.Int32Value(int32(int16(stdbinary.BigEndian.Uint16(b)))), nil
		})}, true
	case pgtype.Int4OID:
		return parquetType{parquet.Int(32), fixed(4, func(b []byte) (parquet.Value, error) {
			return parquet.Int32Value(int32(stdbinary.BigEndian.Uint32(b))), nil
		})}, true
	case pgtype.Int8OID:
		return parquetType{parquet.Int(64), fixed(8, func(b []byte) (parquet.Value, error) {
			return parquet.Int64Value(int64(stdbinary.BigEndian.Uint64(b))), nil
		})}, true
	case pgtype.Float4OID:
		return parquetType{parquet.Leaf(parquet.FloatType), fixed(4, func(b []byte) (parquet.Value, error) {
			return parquet.FloatValue(math.Float32frombits(stdbinary.BigEndian.Uint32(b))), nil
		})}, true
	case pgtype.Float8OID:
		return parquetType{parquet.Leaf(parquet.DoubleType), fixed(8, func(b []byte) (parquet.Value, error) {
			return parquet.DoubleValue(math.Float64frombits(stdbinary.BigEndian.Uint64(b))), nil
		})}, true
	case pgtype.TextOID, pgtype.VarcharOID, pgtype.BPCharOID, pgtype.NameOID:
		return parquetType{parquet.String(), plainBytes}, true
	case pgtype.ByteaOID:
		return parquetType{parquet.Leaf(parquet.ByteArrayType), plainBytes}, true
	case pgtype.JSONOID:
		return parquetType{parquet.JSON(), plainBytes}, true
	case pgtype.UUIDOID:
		return parquetType{parquet.UUID(), fixed(16, func(b []byte) (parquet.Value, error) { return parquet.FixedLenByteArrayValue(b), nil })}, true
	case pgtype.DateOID:
		return parquetType{parquet.Date(), fixed(4, parquetDate)}, true
	case pgtype.TimestampOID:
		return parquetType{parquet.TimestampAdjusted(parquet.Microsecond, false), fixed(8, parquetTime)}, true
	case pgtype.TimestamptzOID:
		return parquetType{parquet.Timestamp(parquet.Microsecond), fixed(8, parquetTime)}, true
	case pgtype.NumericOID:
		return parquetNumeric(c)
	}
	return parquetType{parquet.String(), plainBytes}, false
}

func parquetDate(b []byte) (parquet.Value, error) {
	days := int32(stdbinary.BigEndian.Uint32(b))
	if days == math.MaxInt32 || days == math.MinInt32 || days > math.MaxInt32-epochDays {
		return parquet.Value{}, errors.New("infinity is no date of Parquet")
	}
	return parquet.Int32Value(days + epochDays), nil
}

func parquetTime(b []byte) (parquet.Value, error) {
	micros := int64(stdbinary.BigEndian.Uint64(b))
	if micros == math.MaxInt64 || micros == math.MinInt64 || micros > math.MaxInt64-epochMicros {
		return parquet.Value{}, errors.New("infinity is no time of Parquet")
	}
	return parquet.Int64Value(micros + epochMicros), nil
}

// parquetNumeric is a decimal when the column says how many digits it has, at most
// 38.
func parquetNumeric(c column) (parquetType, bool) {
	m := numericModifier.FindStringSubmatch(c.full)
	if m == nil {
		return parquetType{parquet.String(), plainBytes}, false
	}
	precision, _ := strconv.Atoi(m[1])
	scale, _ := strconv.Atoi(m[2])
	switch {
	case precision <= 18:
		return parquetType{parquet.Decimal(scale, precision, parquet.Int64Type), func(b []byte) (parquet.Value, error) {
			if n, ok := scaledSmall(b, scale); ok {
				return parquet.Int64Value(n), nil
			}
			n, err := scaled(b, scale, 63)
			if err != nil {
				return parquet.Value{}, err
			}
			return parquet.Int64Value(n.Int64()), nil
		}}, true
	case precision <= 38:
		return parquetType{parquet.Decimal(scale, precision, parquet.FixedLenByteArrayType(16)), func(b []byte) (parquet.Value, error) {
			n, err := scaled(b, scale, 127)
			if err != nil {
				return parquet.Value{}, err
			}
			if n.Sign() < 0 { // two's complement
				n.Add(n, new(big.Int).Lsh(big.NewInt(1), 128))
			}
			return parquet.FixedLenByteArrayValue(n.FillBytes(make([]byte, 16))), nil
		}}, true
	}
	return parquetType{parquet.String(), plainBytes}, false
}

var errParquetDigits = errors.New("the number has more digits than its column says")

// maxGroups is more groups of four digits than 38 digits need on both sides of the
// point.
const maxGroups = 24

// scaledSmall is [scaled] for numbers that need no big one on the way.
func scaledSmall(b []byte, scale int) (int64, bool) {
	if len(b) < 8 {
		return 0, false
	}
	digits, weight := int(stdbinary.BigEndian.Uint16(b)), int(int16(stdbinary.BigEndian.Uint16(b[2:])))
	sign := stdbinary.BigEndian.Uint16(b[4:])
	exponent := 4*(weight-digits+1) + scale
	// Four groups of four digits, and less than four digits more, fit.
	if digits > 4 || len(b) != 8+2*digits || sign != 0 && sign != 0x4000 || exponent < -3 || exponent > 18-4*digits {
		return 0, false
	}
	var n int64
	for i := range digits {
		n = n*10_000 + int64(stdbinary.BigEndian.Uint16(b[8+2*i:]))
	}
	for ; exponent > 0; exponent-- {
		n *= 10
	}
	for ; exponent < 0; exponent++ {
		n /= 10
	}
	if sign == 0x4000 {
		n = -n
	}
	return n, true
}

// scaled returns the number of numeric's binary form times ten to the scale, when
// its size takes so many bits at most. Source of the form:
// numeric_send in src/backend/utils/adt/numeric.c.
func scaled(b []byte, scale, bits int) (*big.Int, error) {
	if len(b) < 8 {
		return nil, errParquetLength
	}
	digits, weight := int(stdbinary.BigEndian.Uint16(b)), int(int16(stdbinary.BigEndian.Uint16(b[2:])))
	sign := stdbinary.BigEndian.Uint16(b[4:])
	if sign != 0 && sign != 0x4000 {
		return nil, errors.New("NaN and infinity are no decimals of Parquet")
	}
	if len(b) != 8+2*digits {
		return nil, errParquetLength
	}
	// n counts units of 10,000 to the power of weight-digits+1.
	exponent := 4*(weight-digits+1) + scale
	if digits > maxGroups || exponent > 4*maxGroups || exponent < -4*maxGroups {
		return nil, errParquetDigits
	}
	n := new(big.Int)
	base := big.NewInt(10_000)
	var d big.Int
	for i := range digits {
		n.Mul(n, base).Add(n, d.SetInt64(int64(stdbinary.BigEndian.Uint16(b[8+2*i:]))))
	}
	ten := func(e int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(e)), nil) }
	if exponent >= 0 {
		n.Mul(n, ten(exponent))
	} else {
		n.Quo(n, ten(-exponent)) // the column's scale leaves nothing but zeros there
	}
	if n.BitLen() > bits {
		return nil, errParquetDigits
	}
	if sign == 0x4000 {
		n.Neg(n)
	}
	return n, nil
}

// orderedGroup is a group whose fields stay in order.
type orderedGroup struct {
	parquet.Group
	fields []parquet.Field
}

func (g orderedGroup) Fields() []parquet.Field { return g.fields }

// leaf is a field of an orderedGroup.
type leaf struct {
	parquet.Node
	name string
}

func (l leaf) Name() string                           { return l.name }
func (l leaf) Value(base reflect.Value) reflect.Value { return base }

// parquetWriter makes Parquet of a binary COPY stream. One goroutine reads rows
// while another one encodes and compresses those before.
type parquetWriter struct {
	columns []column
	types   []parquetType
	refers  []bool // by column: values refer to the bytes that they were made of
	out     *parquet.GenericWriter[any]
	rows    int64 // that were read
	group   int   // rows of the row group
}

// parquetRows are rows on their way from one goroutine to the other.
type parquetRows struct {
	rows   int
	values [][]parquet.Value // by column
	arena  []byte            // what they refer to
}

func newParquetWriter(w io.Writer, columns []column) *parquetWriter {
	p := &parquetWriter{columns: columns}
	codec := &zstd.Codec{Level: zstd.SpeedFastest} // a file is hardly larger, and takes half the time
	g := orderedGroup{Group: parquet.Group{}}
	for _, c := range columns {
		t, _ := parquetOf(c)
		kind := t.node.Type().Kind()
		p.types, p.refers = append(p.types, t), append(p.refers, kind == parquet.ByteArray || kind == parquet.FixedLenByteArray)
		node := parquet.Optional(parquet.Compressed(t.node, codec))
		g.Group[c.name] = node
		g.fields = append(g.fields, leaf{node, c.name})
	}
	p.out = parquet.NewGenericWriter[any](w, parquet.NewSchema("rows", g))
	return p
}

// run reads a stream to its end, and returns how many rows it had.
func (p *parquetWriter) run(r io.Reader) (int64, error) {
	before := p.rows
	// Both have room for all batches: only who waits for a free one waits.
	free, full := make(chan *parquetRows, parquetAhead), make(chan *parquetRows, parquetAhead)
	for range parquetAhead {
		free <- &parquetRows{values: make([][]parquet.Value, len(p.types))}
	}
	failed := make(chan struct{})
	var written error
	var wg sync.WaitGroup
	wg.Go(func() {
		for b := range full {
			if written = p.hand(b); written != nil {
				close(failed)
				return
			}
			free <- b
		}
	})
	err := p.read(rows.NewReader(r, len(p.types)), free, full, failed)
	close(full)
	wg.Wait()
	if err = errors.Join(err, written); err != nil {
		return 0, err
	}
	return p.rows - before, nil
}

// read reads rows into free batches, until there are no more, or who writes them
// has failed.
func (p *parquetWriter) read(r *rows.Reader, free <-chan *parquetRows, full chan<- *parquetRows, failed <-chan struct{}) error {
	for {
		var b *parquetRows
		select {
		case b = <-free:
		case <-failed:
			return nil
		}
		for b.rows < parquetBatch && len(b.arena) < parquetBytes {
			values, err := r.Next()
			if errors.Is(err, io.EOF) {
				full <- b
				return nil
			}
			if err != nil {
				return fmt.Errorf("read rows: %w", err)
			}
			p.rows++
			if err := p.add(b, values); err != nil {
				return err
			}
		}
		full <- b
	}
}

// add adds a row to a batch.
func (p *parquetWriter) add(b *parquetRows, values [][]byte) error {
	for i, raw := range values {
		if raw == nil {
			b.values[i] = append(b.values[i], parquet.Value{})
			continue
		}
		if p.refers[i] {
			at := len(b.arena)
			b.arena = append(b.arena, raw...)
			raw = b.arena[at:]
		}
		v, err := p.types[i].value(raw)
		if err != nil {
			return holdfast.Errorf(holdfast.CodeInvalid, "row %d, column %s: %s", p.rows, p.columns[i].name, err).
				WithHint("cast the column to text in the extract's query, or give it a value that Parquet has")
		}
		v.SetDefinitionLevel(1)
		b.values[i] = append(b.values[i], v)
	}
	b.rows++
	return nil
}

// hand gives the values of a batch to their columns, and empties it.
func (p *parquetWriter) hand(b *parquetRows) error {
	for i, w := range p.out.ColumnWriters() {
		if _, err := w.WriteRowValues(b.values[i]); err != nil {
			return fmt.Errorf("write Parquet: %w", err)
		}
		b.values[i] = b.values[i][:0]
	}
	p.group += b.rows
	b.rows, b.arena = 0, b.arena[:0]
	if p.group < parquetRowGroup {
		return nil
	}
	p.group = 0
	if err := p.out.Flush(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}

// close writes the end of the file.
func (p *parquetWriter) close() error {
	if err := p.out.Close(); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	return nil
}
