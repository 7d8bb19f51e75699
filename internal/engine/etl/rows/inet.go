package rows

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
)

// An address is its family, the bits of its network, whether it is a cidr, its
// length, and its bytes. Source: network_send in src/backend/utils/adt/network.c.
const (
	inetHeader = 4
	inetV4     = 2
	inetV6     = 3
)

var errNoInet = errors.New("is no network address such as 10.0.0.1/8 or ::1")

func textOfInet(dst, value []byte) ([]byte, error) {
	if len(value) < inetHeader || len(value) != inetHeader+int(value[3]) {
		return dst, errLength
	}
	b := value[inetHeader:]
	addr, ok := netip.AddrFromSlice(b)
	bits := int(value[1])
	if !ok || bits > addr.BitLen() || addr.Is4() != (value[0] == inetV4) {
		return dst, errNoInet
	}
	// Servers write the last four bytes as of IPv4 where twelve zeros come before.
	if addr.Is6() && bytes.Equal(b[:12], make([]byte, 12)) && (b[12] != 0 || b[13] != 0) {
		dst = append(dst, "::"...)
		addr, _ = netip.AddrFromSlice(b[12:])
	}
	dst = addr.AppendTo(dst)
	if bits < 8*len(b) || value[2] != 0 {
		dst = strconv.AppendInt(append(dst, '/'), int64(bits), 10)
	}
	return dst, nil
}

// binaryOfInet returns how text becomes an inet, or a cidr, whose bits behind the
// network are zero.
func binaryOfInet(cidr bool) decoder {
	return func(dst, text []byte) ([]byte, error) {
		text = bytes.TrimSpace(text)
		address, network, cut := bytes.Cut(text, []byte{'/'})
		addr, err := netip.ParseAddr(string(address))
		if err != nil || addr.Zone() != "" {
			return dst, errNoInet
		}
		bits := int64(addr.BitLen())
		if cut {
			n, _, digits := parseDigits(network, 3)
			if digits == 0 || digits < len(network) || n > bits {
				return dst, errNoInet
			}
			bits = n
		}
		prefix := netip.PrefixFrom(addr, int(bits))
		if cidr && prefix.Masked() != prefix {
			return dst, errors.New("is no network: it has bits behind its length")
		}
		family, flag := byte(inetV6), byte(0)
		if addr.Is4() {
			family = inetV4
		}
		if cidr {
			flag = 1
		}
		b := addr.AsSlice()
		return append(append(dst, family, byte(bits), flag, byte(len(b))), b...), nil
	}
}
