package session

import (
	"strings"
	"testing"
)

func TestExact(t *testing.T) {
	for _, c := range []struct{ text, typ, plain string }{
		{"0", "DECIMAL(1,0)", "0"},
		{"10.50", "DECIMAL(4,2)", "10.50"},
		{"-0.001", "DECIMAL(4,3)", "-0.001"},
		{".5", "DECIMAL(2,1)", "0.5"},
		{"7.", "DECIMAL(1,0)", "7"},
		{"+1e3", "DECIMAL(4,0)", "1000"},
		{"1.25e1", "DECIMAL(3,1)", "12.5"},
		{"1e-37", "DECIMAL(38,37)", "0." + strings.Repeat("0", 36) + "1"},
		{strings.Repeat("9", 38), "DECIMAL(38,0)", strings.Repeat("9", 38)},
	} {
		typ, plain, err := exact(c.text)
		if err != nil || typ != c.typ || plain != c.plain {
			t.Errorf("%s: got %s %s, %v; want %s %s", c.text, typ, plain, err, c.typ, c.plain)
		}
	}
	for _, text := range []string{"", ".", "x", "1x", "NaN", "Infinity", "1e99", "1e-39", "1e100", "0x10", "1_000", strings.Repeat("9", 39), "1;", "--1", "1e"} {
		if typ, _, err := exact(text); err == nil {
			t.Errorf("%q is taken for a %s", text, typ)
		}
	}
}

func TestReadable(t *testing.T) {
	for _, c := range []struct{ msg, want string }{
		{"Binder Error: no column \"x\"\n\nLINE 1: CREATE TABLE \"s\" AS SELECT\n     ^", `Binder Error: no column "x"`},
		{
			"Conversion Error: CSV Error on Line: 2\nOriginal Line: x,secret\nError when converting column \"r.0.id\". Could not convert string \"x\" to 'BIGINT'\n\nColumn r.0.id is being converted as type BIGINT\nThis type was auto-detected",
			`Conversion Error: CSV Error on Line: 2 Error when converting column "id" of r. Could not convert string "x" to 'BIGINT'`,
		},
		{
			"Invalid Input Error: CSV Error on Line: 1\nOriginal Line: a,\"secret\nsecret\"\nMaximum line size of 16 bytes exceeded.\nPossible Solution: more",
			"Invalid Input Error: CSV Error on Line: 1 Maximum line size of 16 bytes exceeded.",
		},
		{
			"Out of Memory Error: failed to offload data block of size 256.0 KiB (15.8 MiB/16.0 MiB used).\nThis limit was set by the 'max_temp_directory_size' setting.\nYou can adjust this setting, by using (for example) PRAGMA max_temp_directory_size='10GiB'",
			"Out of Memory Error: failed to offload data block of size 256.0 KiB (15.8 MiB/16.0 MiB used).",
		},
		{"CSV Error on Line: 1\nOriginal Line: secret\nsecret\nsomething that is new", "CSV Error on Line: 1 the row cannot be read"},
		{strings.Repeat("ü", 1000), strings.Repeat("ü", maxMessage/2) + "…"},
	} {
		if got := readable(c.msg); got != c.want {
			t.Errorf("got  %q\nwant %q", got, c.want)
		}
	}
}
