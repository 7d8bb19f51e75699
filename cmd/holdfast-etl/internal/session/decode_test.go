package session

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// sent is a numeric as PostgreSQL sends it, of a text with as many places as scale.
func sent(text string, scale int) []byte {
	digits, negative := strings.CutPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	whole = strings.TrimLeft(whole, "0")
	whole = strings.Repeat("0", (4-len(whole)%4)%4) + whole
	fraction += strings.Repeat("0", (4-len(fraction)%4)%4)
	weight := len(whole)/4 - 1
	all := whole + fraction
	for strings.HasPrefix(all, "0000") {
		all, weight = all[4:], weight-1
	}
	for strings.HasSuffix(all, "0000") {
		all = all[:len(all)-4]
	}
	sign := uint16(0)
	if negative {
		sign = 0x4000
	}
	if all == "" {
		weight, sign = 0, 0
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(len(all)/4))
	for _, v := range []uint16{uint16(weight), sign, uint16(scale)} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	for ; all != ""; all = all[4:] {
		var group uint16
		_, _ = fmt.Sscan(strings.TrimLeft(all[:3], "0")+all[3:4], &group)
		b = binary.BigEndian.AppendUint16(b, group)
	}
	return b
}

func (h hugeint) big() *big.Int {
	n := new(big.Int).SetUint64(h.upper)
	return n.Lsh(n, 64).Add(n, new(big.Int).SetUint64(h.lower))
}

// TestUnscaled compares numerics of every width and scale, in the form that a server
// gives them, with arithmetic without limits, and with what encodes them again.
func TestUnscaled(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		width := 1 + random.IntN(38)
		scale := random.IntN(width + 1)
		n := new(big.Int)
		for range random.IntN(width + 1) {
			n.Mul(n, big.NewInt(10)).Add(n, big.NewInt(int64(random.IntN(10))))
		}
		if random.IntN(3) == 0 { // zeros at the end
			n.Sub(n, new(big.Int).Mod(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(random.IntN(width))), nil)))
		}
		text := fmt.Sprintf("%0*d", scale+1, n)
		text = text[:len(text)-scale] + "." + text[len(text)-scale:]
		wire := sent(strings.TrimSuffix(text, "."), scale)
		got, negative, err := unscaled(wire, scale, power(width))
		if err != nil || negative || got.big().Cmp(n) != 0 {
			t.Fatalf("numeric(%d,%d) %s, %x: got %s, %t, %v", width, scale, text, wire, got.big(), negative, err)
		}
		if again := appendNumeric(nil, false, got, scale); !bytes.Equal(again, wire) {
			t.Fatalf("numeric(%d,%d) %s: encoded again it is %x, and was %x", width, scale, text, again, wire)
		}
		if width < 38 { // one digit more than the type has
			more := new(big.Int).Mul(power(width).big(), big.NewInt(1+int64(random.IntN(9))))
			text := fmt.Sprintf("%0*d", scale+1, more)
			if _, _, err := unscaled(sent(text[:len(text)-scale]+"."+text[len(text)-scale:], scale), scale, power(width)); err == nil {
				t.Fatalf("numeric(%d,%d) takes %s", width, scale, text)
			}
		}
	}
}

// TestEveryWireIsDecoded has a decoder, and a type of the engine's, for each type that
// is said to have one.
func TestEveryWireIsDecoded(t *testing.T) {
	for _, m := range duck.Types() {
		for _, name := range m.Postgres {
			if name == "numeric" || name == "decimal" || name == "dec" {
				name += "(20,4)"
			}
			typ := duck.TypeOf(name)
			_, err := decoderOf(name)
			if (err == nil) != (typ.Wire != duck.WireNone) {
				t.Errorf("%s: got %v", name, err)
			}
			_, _, decimal := parseDecimal(typ.DuckDB)
			if _, known := logicalTypes[typ.DuckDB]; !known && !decimal {
				t.Errorf("%s: the type %s is not known", name, typ.DuckDB)
			}
		}
	}
}

// FuzzBatch reads any bytes as rows, and any value as a numeric.
func FuzzBatch(f *testing.F) {
	f.Add([]byte("\x00\x02\x00\x00\x00\x01x\xff\xff\xff\xff\xff\xff"), uint8(2))
	f.Add([]byte("\x00\x01\x7f\xff\xff\xff"), uint8(1))
	f.Add(sent("12.5", 1), uint8(1))
	f.Fuzz(func(t *testing.T, raw []byte, columns uint8) {
		if h, _, err := unscaled(raw, int(columns%39), power(38)); err == nil && h.big().Cmp(power(38).big()) >= 0 {
			t.Fatalf("%x is %s", raw, h.big())
		}
		b := new(batch)
		b.reset(int(columns), raw)
		for {
			before := b.at
			done, err := b.row()
			if err != nil { // and nobody looks at the rows
				return
			}
			if done || b.short > 0 {
				break
			}
			for k := range int(columns) {
				if value, ok := b.value(b.rows-1, k); ok && len(value) > b.at-before {
					t.Fatalf("a value of %d bytes in a row of %d", len(value), b.at-before)
				}
			}
		}
		if b.at > len(raw) || len(b.fields) != b.rows*int(columns) {
			t.Fatalf("%d of %d bytes, %d values in %d rows", b.at, len(raw), len(b.fields), b.rows)
		}
	})
}
