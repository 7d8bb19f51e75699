package definition

import (
	"errors"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

func (v *validator) extracts() {
	if len(v.d.Extract) == 0 {
		v.fault("extract", "is empty: an ETL reads at least one relation")
	}
	v.atMost("extract", len(v.d.Extract), maxExtracts, "extracts")
	for i, e := range v.d.Extract {
		v.extract(index("extract", i), e)
	}
}

func (v *validator) extract(at string, e Extract) {
	v.name(at+".name", e.Name)
	c, known := v.connection(at+".connection", e.Connection)
	if !v.exactlyOne(at, choice{"table", e.Table != ""}, choice{"query", e.Query != ""}, choice{"file", e.File != nil}) {
		return
	}
	switch {
	case e.File != nil:
		if known && c.Site != "" {
			v.fault(at+".connection", "is a site: a file needs a directory, a bucket or a URL")
		}
		v.file(at+".file", *e.File, c)
	default:
		if known && c.Site == "" {
			v.fault(at+".connection", "is no site: a table or query needs one")
		}
	}
	if e.Table != "" {
		if _, err := ParseTable(e.Table); err != nil {
			v.fault(at+".table", "%v", err)
		}
		v.columns(at+".columns", e.Columns)
	} else if len(e.Columns) > 0 {
		v.fault(at+".columns", "is for a table only")
	}
	if e.Query != "" {
		v.postgres(at+".query", e.Query)
	}
	if e.Incremental != nil {
		v.incremental(at+".incremental", e)
	}
	if e.OnReject != nil {
		v.onReject(at+".on_reject", *e.OnReject)
	}
}

func (v *validator) file(at string, f File, c Connection) {
	if err := checkPath(f.Path, c.URL == ""); err != nil {
		v.fault(at+".path", "%v", err)
	}
	if f.Format == FormatCSV {
		v.csv(at, f)
	} else {
		for _, k := range []choice{{"header", f.Header}, {"comma", f.Comma != ""}, {"null_text", f.Null != ""}} {
			if k.given {
				v.fault(at+"."+k.key, "is for format: csv only")
			}
		}
	}
	switch {
	case f.MaxSize == 0:
	case c.URL == "" && c.Bucket == nil:
		v.fault(at+".max_size", "is for files that are fetched by HTTP or from a bucket only")
	default:
		v.size(at+".max_size", f.MaxSize, 1, maxTemp)
	}
	if len(f.Fields) == 0 {
		v.fault(at+".fields", "is empty: name the columns and their types")
	}
	v.fields(at+".fields", f.Fields)
}

func (v *validator) csv(at string, f File) {
	if len(f.Comma) != 1 || strings.ContainsAny(f.Comma, "\"\\\r\n.") || f.Comma[0] < ' ' && f.Comma != "\t" ||
		f.Comma[0] >= utf8.RuneSelf || isLetterOrDigit(f.Comma[0]) {
		v.fault(at+".comma", "is %q: write one character of ASCII that is no letter, digit, dot, quote or backslash", shorten(f.Comma))
	}
	if strings.ContainsAny(f.Null, "\"\r\n"+f.Comma) {
		v.fault(at+".null_text", "holds a quote, a line end or the comma")
	}
}

func isLetterOrDigit(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// fields checks columns with their types.
func (v *validator) fields(at string, fields []Field) {
	v.atMost(at, len(fields), maxFields, "fields")
	seen := map[string]int{}
	for i, f := range fields {
		v.typeOf(index(at, i)+".type", f.Type)
		if !v.column(index(at, i)+".name", f.Name) {
			continue
		}
		if first, ok := seen[f.Name]; ok {
			v.fault(index(at, i)+".name", "is %q again, after %s", shorten(f.Name), index(at, first))
		}
		seen[f.Name] = i
	}
}

func (v *validator) typeOf(at, text string) {
	if _, err := ParseType(text); err != nil {
		v.fault(at, "%v", err)
	}
}

// checkPath checks the path of a file below its connection. glob: the last part
// may match several.
func checkPath(p string, glob bool) error {
	switch {
	case p == "":
		return errors.New("is empty")
	case strings.HasPrefix(p, "/"):
		return errors.New("is absolute: write it relative to the connection")
	case strings.Contains(p, `\`):
		return errors.New("holds a backslash: the parts of a path stand between slashes")
	case path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../"):
		return errors.New("is not in its shortest form: leave out . and .. and doubled slashes")
	}
	dir, last := path.Split(p)
	switch {
	case strings.ContainsAny(dir, "*?[]") || !glob && strings.ContainsAny(last, "*?[]"):
		return errors.New("has *, ? or [] where it cannot match: they do in the last part of a path in a directory or a bucket")
	case strings.HasPrefix(last, ".") && glob:
		return errors.New("is that of a hidden file")
	}
	if _, err := path.Match(last, ""); err != nil {
		return errors.New("has a [ that is not closed")
	}
	return nil
}

func (v *validator) incremental(at string, e Extract) {
	inc := *e.Incremental
	if inc.Strategy == StrategyFile {
		if e.File == nil {
			v.fault(at+".strategy", "is file, which is for files: a table or query is read by column")
		}
		for _, k := range []choice{{"column", inc.Column != ""}, {"tie", inc.Tie != ""}, {"start", inc.Start != nil}, {"lag", inc.Lag != 0}} {
			if k.given {
				v.fault(at+"."+k.key, "is for strategy: column only")
			}
		}
		return
	}
	if e.File != nil {
		v.fault(at+".strategy", "is column, which is for a table or query: files are read by file")
		return
	}
	if inc.Column == "" {
		v.fault(at+".column", "is missing: name the column whose values rise")
		return
	}
	v.compared(at+".column", inc.Column, e.Columns)
	if inc.Tie != "" {
		v.compared(at+".tie", inc.Tie, e.Columns)
	}
	if inc.Tie == inc.Column {
		v.fault(at+".tie", "is the column itself: name another, which orders rows with equal values")
	}
	if inc.Lag != 0 {
		v.duration(at+".lag", inc.Lag, 0, maxLag)
	}
}

// compared checks a column by which an extract continues.
func (v *validator) compared(at, name string, columns []string) {
	if v.column(at, name) && len(columns) > 0 && !slices.Contains(columns, name) {
		v.fault(at, "is %q, which is not among the columns of the extract", shorten(name))
	}
}

func (v *validator) onReject(at string, r OnReject) {
	if r.To != "" {
		v.target(at+".to", r.To)
	}
	if r.MaxRows < 0 {
		v.fault(at+".max_rows", "is %d: write how many rows may be rejected", r.MaxRows)
	}
	if r.MaxRatio < 0 || r.MaxRatio > 1 {
		v.fault(at+".max_ratio", "is %v: it may be from 0 to 1", r.MaxRatio)
	}
}

// target checks the name of a table that is written to.
func (v *validator) target(at, name string) {
	t, err := ParseTable(name)
	switch {
	case err != nil:
		v.fault(at, "%v", err)
	case t.Schema == "holdfast_etl":
		v.fault(at, "is in the schema where the ETLs' own bookkeeping is")
	case strings.HasPrefix(t.Schema, "pg_") || t.Schema == "information_schema":
		v.fault(at, "is in a schema of the server's own")
	}
}
