// Package execlog is how the log of an execution is written and shown: one JSON
// object a line, which people see as text.
//
// Each line has ts, level, execution_id, attempt, code and msg, and phase while
// there is one; the lines of an ETL have etl_id, those of others job_id. What else
// is there depends on the code, which [Code] makes of the message.
package execlog

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/holdfast-backup/holdfast"
)

// Run is the execution whose log it is.
type Run struct {
	Type      holdfast.JobType
	Job       holdfast.JobID // 0: not known
	Execution holdfast.ExecutionID
	Fence     holdfast.Fence
}

// New returns a logger that writes a line with each call of w.Write. phase says what
// the execution is doing; it may be nil.
func New(w io.Writer, run Run, phase func() string) *slog.Logger {
	job := slog.Int64("job_id", int64(run.Job))
	switch {
	case run.Job == 0:
		job = slog.Attr{}
	case run.Type == holdfast.JobETL:
		job.Key = "etl_id"
	}
	h := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: replace})
	return slog.New(handler{h, phase}).With(job, slog.Int64("execution_id", int64(run.Execution)), slog.Uint64("attempt", uint64(run.Fence)))
}

// Line is one line, as [New] writes it.
func Line(ctx context.Context, now time.Time, run Run, level slog.Level, msg string, attrs ...any) []byte {
	var b bytes.Buffer
	r := slog.NewRecord(now, level, msg, 0)
	r.Add(attrs...)
	_ = New(&b, run, nil).Handler().Handle(ctx, r) // a buffer takes everything
	return b.Bytes()
}

// timeLayout is RFC 3339 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z"

func replace(groups []string, a slog.Attr) slog.Attr {
	switch {
	case len(groups) == 0 && a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime:
		return slog.String("ts", a.Value.Time().UTC().Format(timeLayout))
	case a.Value.Kind() == slog.KindDuration:
		return slog.String(a.Key, a.Value.Duration().String())
	case a.Value.Kind() == slog.KindTime:
		return slog.String(a.Key, a.Value.Time().UTC().Format(time.RFC3339))
	}
	return a
}

// handler gives each line its code and phase.
type handler struct {
	slog.Handler

	phase func() string
}

func (h handler) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(slog.String("code", Code(r.Message)))
	if h.phase != nil {
		if p := h.phase(); p != "" {
			r.AddAttrs(slog.String("phase", p))
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return handler{h.Handler.WithAttrs(attrs), h.phase}
}

func (h handler) WithGroup(name string) slog.Handler {
	return handler{h.Handler.WithGroup(name), h.phase}
}

// Code is the stable name of a message: what stands before its first comma or colon,
// in capitals. Another message with the same beginning has the same code.
func Code(msg string) string {
	if i := strings.IndexAny(msg, ",:;"); i >= 0 {
		msg = msg[:i]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, strings.TrimSpace(msg))
}

// shownOnce are the members of a line that its text shows at its beginning, or not
// at all, because they are the same in the whole log or follow from the message.
var shownOnce = map[string]bool{
	"ts": true, "level": true, "msg": true, "code": true, "etl_id": true, "job_id": true, "execution_id": true, "attempt": true,
}

// Text is what people see of whole lines of a log. A line that is no JSON object
// stays as it is: older versions wrote text.
func Text(lines []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(lines) {
		if text, ok := textOf(line); ok {
			out.WriteString(text)
			continue
		}
		out.Write(line)
	}
	return out.Bytes()
}

func textOf(line []byte) (string, bool) {
	if len(line) == 0 || line[0] != '{' {
		return "", false
	}
	d := json.NewDecoder(bytes.NewReader(line))
	if _, err := d.Token(); err != nil {
		return "", false
	}
	var rest strings.Builder
	head := map[string]string{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", false
		}
		name, _ := key.(string)
		var v json.RawMessage
		if d.Decode(&v) != nil {
			return "", false
		}
		if shownOnce[name] {
			head[name] = shown(v, "")
			continue
		}
		rest.WriteString(" " + name + "=" + shown(v, " =\""))
	}
	if _, err := d.Token(); err != nil { // cut short
		return "", false
	}
	return head["ts"] + " " + head["level"] + " " + head["msg"] + rest.String() + "\n", true
}

// shown is a value as people see it: in quotes when it is a text with one of the
// characters, or anything that does not print.
func shown(v json.RawMessage, unclear string) string {
	s, text := string(v), ""
	quoted := false
	if json.Unmarshal(v, &text) == nil && v[0] == '"' {
		s, quoted = text, strings.ContainsAny(text, unclear) || text == ""
	}
	if quoted || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}
