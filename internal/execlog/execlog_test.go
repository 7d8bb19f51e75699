package execlog_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/execlog"
)

func TestALineIsAnObject(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	phase := ""
	log := execlog.New(&b, execlog.Run{Type: holdfast.JobETL, Job: 7, Execution: 1001, Fence: 2}, func() string { return phase })
	log.Info("etl starts", "etl", "copy", "properties", map[string]string{"region": "north"})
	phase = "load"
	log.With("flow", "orders").Warn("round failed, and is tried again", "error", errors.New("a \x1b[31mred\n\"error\""), "pause", time.Second, "rows", 3)
	log.Debug("not for people")
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %q, want two lines", lines)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
		t.Fatal(err)
	}
	ts, _ := got["ts"].(string)
	if when, err := time.Parse("2006-01-02T15:04:05.000Z", ts); err != nil || time.Since(when) > time.Minute {
		t.Errorf("got the time %q, error %v", ts, err)
	}
	delete(got, "ts")
	want := map[string]any{
		"level": "WARN", "etl_id": 7.0, "execution_id": 1001.0, "attempt": 2.0, "flow": "orders", "code": "ROUND_FAILED", "phase": "load",
		"msg": "round failed, and is tried again", "error": "a \x1b[31mred\n\"error\"", "pause": "1s", "rows": 3.0,
	}
	a, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	if !bytes.Equal(a, w) {
		t.Errorf("got  %s\nwant %s", a, w)
	}
	text := strings.Split(string(execlog.Text(b.Bytes())), "\n")
	if want := ` INFO etl starts etl=copy properties={"region":"north"}`; !strings.HasSuffix(text[0], want) {
		t.Errorf("got  %s\nwant it to end in %s", text[0], want)
	}
	if want := ` WARN round failed, and is tried again flow=orders error="a \x1b[31mred\n\"error\"" pause=1s rows=3 phase=load`; !strings.HasSuffix(text[1], want) {
		t.Errorf("got  %s\nwant it to end in %s", text[1], want)
	}
}

// What older versions wrote, and what was cut, is shown as it stands.
func TestTextOfOtherLines(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"", "--- start 1 of execution 7 on worker 1001, 2026-03-01T02:00:00Z ---\n", "time=2026-03-01T02:00:00Z level=INFO msg=\"etl starts\"\n",
		"{\"ts\":\"2026-03-01T02:00:00.000Z\",\"level\":\n", "{\"ts\":1\n", "\n",
	} {
		if got := string(execlog.Text([]byte(line))); got != line {
			t.Errorf("got %q, want %q", got, line)
		}
	}
}
