package rows

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"
)

// codec knows the two forms of a type's values: what a server sends, and its text.
// Its functions append to dst, and on a failure return an error that says what is
// wrong, without the value.
type codec struct {
	text   func(dst, value []byte) ([]byte, error)
	binary func(dst, text []byte) ([]byte, error)
	// compare orders two values as a server does, text byte by byte; nil for types
	// that checks cannot compare.
	compare func(a, b []byte) int
	kind    family
}

// family says which types a value of a type may be cast to.
type family uint8

const (
	other family = iota
	textual
	whole // int2, int4, int8
	inexact
	exact // numeric
	truth
	moment // date and timestamps
	document
)

var errLength = errors.New("does not have the length of its type")

// codecs holds the types that are read and written here, as are arrays of them. A
// test compares each with a server.
var codecs = map[uint32]codec{
	pgtype.BoolOID:        {textOfBool, binaryOfBool, bytes.Compare, truth},
	pgtype.Int2OID:        {textOfInt(2), binaryOfInt(2), compareInts, whole},
	pgtype.Int4OID:        {textOfInt(4), binaryOfInt(4), compareInts, whole},
	pgtype.Int8OID:        {textOfInt(8), binaryOfInt(8), compareInts, whole},
	pgtype.Float4OID:      {textOfFloat(4), binaryOfFloat(4), compareFloats, inexact},
	pgtype.Float8OID:      {textOfFloat(8), binaryOfFloat(8), compareFloats, inexact},
	pgtype.NumericOID:     {textOfNumeric, binaryOfNumeric, compareNumerics, exact},
	pgtype.TextOID:        {asIs, binaryOfText, bytes.Compare, textual},
	pgtype.VarcharOID:     {asIs, binaryOfText, bytes.Compare, textual},
	pgtype.BPCharOID:      {asIs, binaryOfText, comparePadded, textual},
	pgtype.NameOID:        {asIs, binaryOfText, bytes.Compare, textual},
	pgtype.UnknownOID:     {asIs, binaryOfText, bytes.Compare, textual},
	pgtype.JSONOID:        {asIs, binaryOfJSON, nil, document},
	pgtype.JSONBOID:       {textOfJSONB, binaryOfJSONB, nil, document},
	pgtype.DateOID:        {textOfDate, binaryOfDate, compareInts, moment},
	pgtype.TimestampOID:   {textOfTimestamp(false), binaryOfTimestamp(false), compareInts, moment},
	pgtype.TimestamptzOID: {textOfTimestamp(true), binaryOfTimestamp(true), compareInts, moment},
	pgtype.TimeOID:        {textOfTime, binaryOfTime(modifier{}), compareInts, other},
	pgtype.IntervalOID:    {textOfInterval, binaryOfInterval, nil, other},
	pgtype.InetOID:        {textOfInet, binaryOfInet(false), nil, other},
	pgtype.CIDROID:        {textOfInet, binaryOfInet(true), nil, other},
	pgtype.MacaddrOID:     {textOfMAC, binaryOfMAC, bytes.Compare, other},
	pgtype.BitOID:         {textOfBits, binaryOfBits, nil, other},
	pgtype.VarbitOID:      {textOfBits, binaryOfBits, nil, other},
	pgtype.OIDOID:         {textOfOID, binaryOfOID, bytes.Compare, other},
	pgtype.UUIDOID:        {textOfUUID, binaryOfUUID, bytes.Compare, other},
	pgtype.ByteaOID:       {textOfBytea, binaryOfBytea, bytes.Compare, other},
}

// codecOf returns the codec of a column's type, and false when its values cannot
// become text here.
func codecOf(c Column) (codec, bool) {
	if c.Textual {
		return codecs[pgtype.TextOID], true
	}
	if k, ok := codecs[c.OID]; ok {
		return k, true
	}
	if t, ok := pgtype.NewMap().TypeForOID(c.OID); ok {
		if a, ok := t.Codec.(*pgtype.ArrayCodec); ok {
			return arrayOf(a.ElementType.OID)
		}
	}
	return codec{}, false
}

// Readable reports whether values of a column's type are read and written here.
func Readable(c Column) bool {
	_, ok := codecOf(c)
	return ok
}

// asIs is the text of types whose binary form is their text.
func asIs(dst, value []byte) ([]byte, error) { return append(dst, value...), nil }

// binaryOfText checks what a server would refuse.
func binaryOfText(dst, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return dst, errors.New("is not UTF-8")
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return dst, errors.New("has a zero byte")
	}
	return append(dst, text...), nil
}

// comparePadded compares values of character(n): spaces at the end do not count.
func comparePadded(a, b []byte) int {
	return bytes.Compare(bytes.TrimRight(a, " "), bytes.TrimRight(b, " "))
}

func binaryOfJSON(dst, text []byte) ([]byte, error) {
	if !json.Valid(text) {
		return dst, errors.New("is no JSON")
	}
	return binaryOfText(dst, text)
}

// jsonbVersion begins a binary jsonb; the JSON follows.
const jsonbVersion = 1

func textOfJSONB(dst, value []byte) ([]byte, error) {
	if len(value) == 0 || value[0] != jsonbVersion {
		return dst, errors.New("is a jsonb of an unknown version")
	}
	return append(dst, value[1:]...), nil
}

func binaryOfJSONB(dst, text []byte) ([]byte, error) {
	if !wholeText(text) {
		return dst, errors.New("has an escape that stands for no character: jsonb takes no \\u0000, and no half of a surrogate pair")
	}
	return binaryOfJSON(append(dst, jsonbVersion), text)
}

// wholeText reports whether every escape in JSON stands for a character that text of a
// server may have.
func wholeText(b []byte) bool {
	high := false // the first half of a pair is before
	for i := 0; i < len(b); i++ {
		if b[i] != '\\' || i+1 == len(b) {
			if high {
				return false
			}
			continue
		}
		i++
		if b[i] != 'u' || i+4 >= len(b) {
			if high {
				return false
			}
			continue
		}
		n, err := strconv.ParseUint(string(b[i+1:i+5]), 16, 16)
		low := n >= 0xdc00 && n <= 0xdfff
		if err != nil || n == 0 || low != high {
			return false
		}
		high = n >= 0xd800 && n <= 0xdbff
		i += 4
	}
	return !high
}

func textOfBool(dst, value []byte) ([]byte, error) {
	if len(value) != 1 {
		return dst, errLength
	}
	if value[0] == 0 {
		return append(dst, 'f'), nil
	}
	return append(dst, 't'), nil
}

// truths are the words for each truth, which may be shortened: "o" is none, as on
// and off begin with it.
var truths = []struct {
	word     string
	shortest int
	value    byte
}{{"true", 1, 1}, {"false", 1, 0}, {"yes", 1, 1}, {"no", 1, 0}, {"on", 2, 1}, {"off", 2, 0}, {"1", 1, 1}, {"0", 1, 0}}

func binaryOfBool(dst, text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	for _, t := range truths {
		if len(text) >= t.shortest && len(text) <= len(t.word) && bytes.EqualFold(text, []byte(t.word)[:len(text)]) {
			return append(dst, t.value), nil
		}
	}
	return dst, errors.New("is no boolean")
}

// intOf reads a big-endian integer of 2, 4 or 8 bytes, and false for other lengths.
func intOf(value []byte) (int64, bool) {
	switch len(value) {
	case 2:
		return int64(int16(binary.BigEndian.Uint16(value))), true
	case 4:
		return int64(int32(binary.BigEndian.Uint32(value))), true
	case 8:
		return int64(binary.BigEndian.Uint64(value)), true
	}
	return 0, false
}

// appendInt writes an integer of size bytes, which holds it.
func appendInt(dst []byte, n int64, size int) []byte {
	switch size {
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(n))
	case 4:
		return binary.BigEndian.AppendUint32(dst, uint32(n))
	}
	return binary.BigEndian.AppendUint64(dst, uint64(n))
}

// fits reports whether n fits into size bytes.
func fits(n int64, size int) bool {
	shift := 64 - 8*size
	return n<<shift>>shift == n
}

var errIntRange = errors.New("is out of the range of its type")

func textOfInt(size int) func(dst, value []byte) ([]byte, error) {
	return func(dst, value []byte) ([]byte, error) {
		n, _ := intOf(value)
		if len(value) != size {
			return dst, errLength
		}
		return strconv.AppendInt(dst, n, 10), nil
	}
}

func binaryOfInt(size int) func(dst, text []byte) ([]byte, error) {
	return func(dst, text []byte) ([]byte, error) {
		n, err := parseInt(bytes.TrimSpace(text))
		if err != nil {
			return dst, err
		}
		if !fits(n, size) {
			return dst, errIntRange
		}
		return appendInt(dst, n, size), nil
	}
}

var errNoInt = errors.New("is no whole number")

// parseInt reads a decimal integer.
func parseInt(text []byte) (int64, error) {
	digits, negative := text, false
	if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
		negative, digits = text[0] == '-', text[1:]
	}
	if len(digits) == 0 {
		return 0, errNoInt
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, errNoInt
		}
		if n > (1<<63)/10 {
			return 0, errIntRange
		}
		n = n*10 + uint64(c-'0')
	}
	if negative && n <= 1<<63 {
		return -int64(n), nil
	}
	if n >= 1<<63 {
		return 0, errIntRange
	}
	return int64(n), nil
}

// compareInts compares integers of one length, also days and microseconds, whose
// infinities are the largest and the smallest.
func compareInts(a, b []byte) int {
	x, _ := intOf(a)
	y, _ := intOf(b)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// floatOf reads a float of 4 or 8 bytes, and false for other lengths.
func floatOf(value []byte) (float64, bool) {
	switch len(value) {
	case 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(value))), true
	case 8:
		return math.Float64frombits(binary.BigEndian.Uint64(value)), true
	}
	return 0, false
}

func textOfFloat(size int) func(dst, value []byte) ([]byte, error) {
	return func(dst, value []byte) ([]byte, error) {
		f, _ := floatOf(value)
		if len(value) != size {
			return dst, errLength
		}
		return appendFloat(dst, f, 8*size), nil
	}
}

// appendFloat writes the shortest text that reads as the same float, as servers do
// since release 12.
func appendFloat(dst []byte, f float64, bits int) []byte {
	small, large := 1e-4, 1e15
	if bits == 32 {
		small, large = float64(float32(1e-4)), 1e6
	}
	switch a := math.Abs(f); {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case a != 0 && (a < small || a >= large):
		return strconv.AppendFloat(dst, f, 'e', -1, bits)
	}
	return strconv.AppendFloat(dst, f, 'f', -1, bits)
}

func binaryOfFloat(size int) func(dst, text []byte) ([]byte, error) {
	return func(dst, text []byte) ([]byte, error) {
		text = bytes.TrimSpace(text)
		nonzero, exponent := false, false
		for _, c := range text {
			switch {
			case c == '_' || c|0x20 == 'x' || c|0x20 == 'p':
				return dst, errNoFloat // Go's, not SQL's
			case c|0x20 == 'e':
				exponent = true
			case c >= '1' && c <= '9' && !exponent:
				nonzero = true
			}
		}
		f, err := strconv.ParseFloat(string(text), 8*size)
		if errors.Is(err, strconv.ErrRange) || nonzero && f == 0 && err == nil {
			return dst, errIntRange
		}
		if err != nil {
			return dst, errNoFloat
		}
		return appendFloatBits(dst, f, size), nil
	}
}

var errNoFloat = errors.New("is no number")

func appendFloatBits(dst []byte, f float64, size int) []byte {
	if math.IsNaN(f) { // Go's differs from the servers' in a bit
		f = math.Float64frombits(0x7ff8000000000000)
	}
	if size == 4 {
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(f)))
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
}

// compareFloats orders floats as a server does: NaN equals itself, and is the largest.
func compareFloats(a, b []byte) int {
	x, _ := floatOf(a)
	y, _ := floatOf(b)
	switch {
	case math.IsNaN(x) && math.IsNaN(y):
		return 0
	case math.IsNaN(x) || x > y:
		return 1
	case math.IsNaN(y) || x < y:
		return -1
	}
	return 0
}
