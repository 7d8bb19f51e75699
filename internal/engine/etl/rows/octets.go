package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"strconv"
)

const hexDigits = "0123456789abcdef"

func textOfUUID(dst, value []byte) ([]byte, error) {
	if len(value) != 16 {
		return dst, errLength
	}
	for i, b := range value {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[b>>4], hexDigits[b&15])
	}
	return dst, nil
}

var errNoUUID = errors.New("is no UUID")

// binaryOfUUID takes what a server takes: 32 digits, braces around them, hyphens
// behind any four.
func binaryOfUUID(dst, text []byte) ([]byte, error) {
	if len(text) > 1 && text[0] == '{' && text[len(text)-1] == '}' {
		text = text[1 : len(text)-1]
	}
	start := len(dst)
	for digits := 0; digits < 32; digits += 2 {
		if digits > 0 && digits%4 == 0 && len(text) > 0 && text[0] == '-' {
			text = text[1:]
		}
		if len(text) < 2 {
			return dst[:start], errNoUUID
		}
		high, low := hexValue(text[0]), hexValue(text[1])
		if high > 15 || low > 15 {
			return dst[:start], errNoUUID
		}
		dst = append(dst, high<<4|low)
		text = text[2:]
	}
	if len(text) > 0 {
		return dst[:start], errNoUUID
	}
	return dst, nil
}

// hexValue returns what a digit is worth, and more than 15 for none.
func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}

func textOfBytea(dst, value []byte) ([]byte, error) {
	dst = append(dst, '\\', 'x')
	for _, b := range value {
		dst = append(dst, hexDigits[b>>4], hexDigits[b&15])
	}
	return dst, nil
}

func binaryOfBytea(dst, text []byte) ([]byte, error) {
	if len(text) < 2 || text[0] != '\\' || text[1] != 'x' || len(text)%2 != 0 {
		return dst, errors.New(`is no bytea: two hexadecimal digits for each byte follow \x`)
	}
	start := len(dst)
	for i := 2; i < len(text); i += 2 {
		high, low := hexValue(text[i]), hexValue(text[i+1])
		if high > 15 || low > 15 {
			return dst[:start], errors.New("is no bytea: it has characters that are no hexadecimal digits")
		}
		dst = append(dst, high<<4|low)
	}
	return dst, nil
}

func textOfMAC(dst, value []byte) ([]byte, error) {
	if len(value) != 6 {
		return dst, errLength
	}
	for i, b := range value {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, hexDigits[b>>4], hexDigits[b&15])
	}
	return dst, nil
}

func binaryOfMAC(dst, text []byte) ([]byte, error) {
	mac, err := net.ParseMAC(string(bytes.TrimSpace(text)))
	if err != nil || len(mac) != 6 {
		return dst, errors.New("is no hardware address such as 08:00:2b:01:02:03")
	}
	return append(dst, mac...), nil
}

var errNoBits = errors.New("is no string of bits such as 0101")

// textOfBits reads the number of bits, and the bits from the highest of each byte.
func textOfBits(dst, value []byte) ([]byte, error) {
	if len(value) < 4 {
		return dst, errLength
	}
	n, bits := int(int32(binary.BigEndian.Uint32(value))), value[4:]
	if n < 0 || len(bits) != (n+7)/8 {
		return dst, errLength
	}
	for i := range n {
		dst = append(dst, '0'+bits[i/8]>>(7-i%8)&1)
	}
	return dst, nil
}

func binaryOfBits(dst, text []byte) ([]byte, error) {
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
	for i, c := range text {
		if c != '0' && c != '1' {
			return dst[:start], errNoBits
		}
		if i%8 == 0 {
			dst = append(dst, 0)
		}
		dst[len(dst)-1] |= (c - '0') << (7 - i%8)
	}
	return dst, nil
}

func textOfOID(dst, value []byte) ([]byte, error) {
	if len(value) != 4 {
		return dst, errLength
	}
	return strconv.AppendUint(dst, uint64(binary.BigEndian.Uint32(value)), 10), nil
}

func binaryOfOID(dst, text []byte) ([]byte, error) {
	n, err := parseInt(bytes.TrimSpace(text))
	if err != nil {
		return dst, err
	}
	if n < 0 || n > math.MaxUint32 {
		return dst, errIntRange
	}
	return binary.BigEndian.AppendUint32(dst, uint32(n)), nil
}
