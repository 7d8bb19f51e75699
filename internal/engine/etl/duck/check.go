package duck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
)

// decode reads one line of JSON, and nothing behind it.
func decode(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode a message: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("decode a message: there is more than one value in a line")
	}
	return nil
}

// Check returns nil for a request that makes sense by itself.
func (r *Request) Check() error {
	set := 0
	for _, is := range []bool{
		r.Open != nil, r.Cancel != 0, r.Set != nil, r.Input != nil, r.Describe != nil, r.Step != nil, r.Assert != nil, r.Output != nil, r.Look != nil, r.Reset,
	} {
		if is {
			set++
		}
	}
	if r.ID == 0 || set != 1 {
		return holdfast.Errorf(holdfast.CodeInvalid, "a request has an id and asks for one thing, this one for %d", set)
	}
	files := 0
	switch {
	case r.Open != nil:
		return r.Open.check()
	case r.Set != nil:
		for _, p := range r.Set.Parameters {
			if err := checkName("parameter", p.Name); err != nil {
				return err
			}
		}
	case r.Input != nil:
		if err := r.Input.check(); err != nil {
			return err
		}
		if files = r.Files; files < 1 || files > MaxFiles || r.Input.fed() && files != 1 {
			return holdfast.Errorf(holdfast.CodeInvalid, "an input comes with 1 to %d files, not %d", MaxFiles, files)
		}
		if n := len(r.Input.Names); !r.Input.fed() && n != files {
			return holdfast.Errorf(holdfast.CodeInvalid, "%d files come with %d names", files, n)
		}
	case r.Describe != nil:
		if files = r.Files; files < 1 || files > MaxFiles || len(r.Describe.Names) != files {
			return holdfast.Errorf(holdfast.CodeInvalid, "1 to %d files are described, with their names, and not %d with %d", MaxFiles, files, len(r.Describe.Names))
		}
	case r.Step != nil:
		if err := checkName("relation", r.Step.Name); err != nil {
			return err
		}
		return checkSQL(r.Step.SQL)
	case r.Assert != nil:
		return checkSQL(r.Assert.SQL)
	case r.Output != nil:
		if f := r.Output.Format; f != FormatCopy && f != FormatCSV && f != FormatParquet && f != FormatBinary {
			return holdfast.Errorf(holdfast.CodeInvalid, "rows cannot leave the engine as %q", f)
		}
		files = 1
	case r.Look != nil:
		if r.Look.Rows < 0 || r.Look.Rows > MaxSampled {
			return holdfast.Errorf(holdfast.CodeInvalid, "%d rows are not between 0 and %d", r.Look.Rows, MaxSampled)
		}
	}
	if r.Files != files {
		return holdfast.Errorf(holdfast.CodeInvalid, "a request came with %d files instead of %d", r.Files, files)
	}
	return nil
}

// MinMemory is the least that the engine works with, in bytes.
const MinMemory = 64 << 20

func (o *Open) check() error {
	switch {
	case o.Memory < MinMemory:
		return holdfast.Errorf(holdfast.CodeInvalid, "the engine's memory is %d bytes, and at least %d", o.Memory, MinMemory).
			WithHint("set resources.memory in the definition")
	case o.Temp < 0, o.Threads < 1, o.Threads > math.MaxInt16, o.Dir == "":
		return holdfast.Errorf(holdfast.CodeInvalid, "the engine's limits are wrong: %d bytes of temporary files in %q, %d threads", o.Temp, o.Dir, o.Threads)
	}
	return nil
}

// fed reports whether the rows come through a pipe.
func (in *Input) fed() bool { return in.Format == FormatCopy || in.Format == FormatBinary }

func (in *Input) check() error {
	if err := checkName("relation", in.Relation); err != nil {
		return err
	}
	if n := len(in.Columns); n < 1 || n > MaxColumns {
		return holdfast.Errorf(holdfast.CodeInvalid, "the relation %s has %d columns: 1 to %d are possible", in.Relation, n, MaxColumns)
	}
	// The engine does not tell names apart by case alone.
	seen := map[string]bool{}
	for _, c := range in.Columns {
		if err := checkName("column", c.Name); err != nil {
			return err
		}
		fold := strings.ToLower(c.Name)
		if seen[fold] {
			return holdfast.Errorf(holdfast.CodeInvalid, "the relation %s has two columns %s", in.Relation, c.Name).
				WithHint("the engine folds case: name one of them otherwise in the query")
		}
		seen[fold] = true
	}
	switch in.Format {
	case FormatCopy, FormatParquet:
	case FormatBinary:
		for _, c := range in.Columns {
			if !Binary(c.Type) {
				return holdfast.Errorf(holdfast.CodeInvalid, "the engine does not read the type %s of column %s in binary", c.Type, c.Name)
			}
		}
	case FormatCSV: // of what leaves
		fallthrough
	default:
		return holdfast.Errorf(holdfast.CodeInvalid, "the engine cannot read %q", in.Format)
	}
	return nil
}

// checkName returns nil for what may be the name of a thing.
func checkName(what, name string) error {
	if name == "" || len(name) > MaxName || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q cannot be the name of a %s", clip(name, MaxName), what).
			WithHint("a name has 1 to %d bytes of printable text", MaxName)
	}
	return nil
}

// checkSQL bounds a statement; the engine says what is wrong with it.
func checkSQL(sql string) error {
	if sql == "" || len(sql) > MaxSQL || !utf8.ValidString(sql) || strings.IndexByte(sql, 0) >= 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "SQL has 1 to %d bytes of UTF-8 text", MaxSQL)
	}
	return nil
}

// clip cuts a text to at most n bytes, between characters.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
