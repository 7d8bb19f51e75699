package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// print writes v as JSON, or the rows as a table below the header.
func (a *app) print(v any, header string, rows func(row func(cells ...any))) error {
	if a.output == "json" {
		return printJSON(a.stdout, v)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if header != "" {
		_, _ = fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
	}
	rows(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				_, _ = fmt.Fprint(w, "\t")
			}
			_, _ = fmt.Fprint(w, cell(c))
		}
		_, _ = fmt.Fprintln(w)
	})
	return w.Flush()
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// cell writes a value for people: what is empty is a dash.
func cell(v any) string {
	var s string
	switch v := v.(type) {
	case time.Time:
		if !v.IsZero() {
			s = v.Local().Format("2006-01-02 15:04:05")
		}
	case bool:
		s = "no"
		if v {
			s = "yes"
		}
	case []string:
		s = strings.Join(v, ", ")
	default:
		s = fmt.Sprint(v)
	}
	if s == "" {
		return "-"
	}
	return harmless(s, "")
}

// harmless returns a text without what moves the cursor, breaks a table or turns the text
// around: names and errors come from elsewhere. Terminals take U+009B for the beginning
// of a command, too. Control characters to be kept are in keep.
func harmless(s, keep string) string {
	return strings.Map(func(r rune) rune {
		if (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) && !strings.ContainsRune(keep, r) {
			return ' '
		}
		return r
	}, s)
}

// orDash is for numbers that mean nothing when they are zero.
func orDash[T ~int64 | ~int](n T) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// size writes a size for people, in binary units.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1023.95 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// duration writes a time span for people.
func duration(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// outcome says in a word or two where an execution is.
func outcome(e native.Execution) string {
	if e.Outcome != "" {
		return string(e.Outcome)
	}
	if w := e.Wanted.String(); w != "run" && string(e.State) == "RUNNING" {
		return string(e.State) + " (" + w + ")"
	}
	if e.Reason != "" && string(e.State) == "QUEUED" { // it ran before
		return string(e.State) + " (" + string(e.Reason) + ")"
	}
	return string(e.State)
}

// elapsed is how long an execution ran, or has been running.
func elapsed(e native.Execution, now time.Time) string {
	switch {
	case e.Started.IsZero():
		return "-"
	case e.Ended.IsZero():
		return duration(now.Sub(e.Started))
	}
	return duration(e.Ended.Sub(e.Started))
}
