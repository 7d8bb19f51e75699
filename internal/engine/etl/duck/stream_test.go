package duck_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// numbers are rows of CSV with two numbers each: i and i modulo 10.
func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "%d,%d\n", i, i%10)
	}
	return b.String()
}

var numberColumns = []duck.Column{column("i", "bigint"), column("m", "integer")}

// Two readers of one pipe would share its rows: whatever SQL does, each row is read
// once, and by all who want it.
func TestStreamedRowsAreReadOnce(t *testing.T) {
	const rows = 200_000
	for _, e := range []struct{ name, sql, want string }{
		{"plain", "select count(*), sum(i) from r", "200000,19999900000"},
		{"joined with itself", "select count(*), sum(a.i) from r a join r b on a.i = b.i", "200000,19999900000"},
		{"twice in a union", "select count(*), sum(i) from (select * from r union all select * from r)", "400000,39999800000"},
		{"twice by a name of WITH", "with x as (select * from r), y as (select * from x) select count(*), sum(x.i) from x join y on x.i = y.i", "200000,19999900000"},
		{"in a subquery, too", "select count(*), sum(i) from r where m < (select avg(m) from r)", "100000,9999700000"},
		{"correlated", "select count(*), sum(i) from r where exists (select 1 from r b where b.i = r.i + 1)", "199999,19999700001"},
		{"a window that becomes a join", "select count(*), sum(i) from (select i, count(*) over (partition by m) as n from r) where n = 20000", "200000,19999900000"},
		{"recursive", "with recursive x as (select 0::bigint as n union all select r.i from x join r on r.i = x.n + 1 and r.i < 50) select count(*), sum(n) from x", "50,1225"},
	} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			c := start(t)
			feed(t, c, "r", true, numbers(rows), numberColumns...)
			step(t, c, "s", e.sql, true)
			if got := drain(t, c, "s"); got != e.want+"\n" {
				t.Errorf("got %q, want %q", got, e.want)
			}
		})
	}
}

func TestStreamedTwiceIsAnError(t *testing.T) {
	c := start(t)
	feed(t, c, "r", true, numbers(10), numberColumns...)
	step(t, c, "a", "select * from r", true)
	if got := drain(t, c, "a"); strings.Count(got, "\n") != 10 {
		t.Errorf("got %q", got)
	}
	_, err := c.Step(t.Context(), "b", "select * from r", false)
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "was read before") {
		t.Errorf("got %v, want that r was read before", err)
	}
}

func TestRowsThatNobodyNeedsAreDropped(t *testing.T) {
	c := start(t)
	feed(t, c, "r", true, numbers(1_000_000), numberColumns...) // the end of the test waits for it
	step(t, c, "s", "select * from r limit 3", true)
	if got := drain(t, c, "s"); strings.Count(got, "\n") != 3 {
		t.Errorf("got %q, want three rows", got)
	}
}

func TestResetEndsAFeedThatNobodyReads(t *testing.T) {
	c := start(t)
	f, err := c.Feed(t.Context(), "r", numberColumns, duck.FormatCopy, true)
	if err != nil {
		t.Fatal(err)
	}
	fed := make(chan error, 1)
	go func() {
		_, err := io.Copy(f, strings.NewReader(numbers(5_000_000))) // more than is queued
		fed <- err
	}()
	// SQL may hide the relation behind a name of its own.
	step(t, c, "s", "with r as (select 1 as i) select count(*) from r", true)
	if got := drain(t, c, "s"); got != "\"1\"\n" {
		t.Errorf("got %q", got)
	}
	if err := c.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-fed; holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("the feed says %v, want that it was given up", err)
	}
	if err := f.Close(); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("close says %v, want that it was given up", err)
	}
	feed(t, c, "r", false, "1,1\n", numberColumns...) // the name is free
}

func TestOrderIsKept(t *testing.T) {
	c := start(t)
	step(t, c, "s", "select range as n from range(300000) order by hash(range)", true)
	step(t, c, "sorted", "select n from s order by n desc", true)
	lines := strings.Fields(strings.ReplaceAll(drain(t, c, "sorted"), `"`, ""))
	if len(lines) != 300000 || lines[0] != "299999" || lines[299999] != "0" || lines[150000] != "149999" {
		t.Errorf("%d rows, first %s", len(lines), lines[0])
	}
}

func TestAnAbortedFeedFailsItsReader(t *testing.T) {
	broken := errors.New("the source has failed")
	for _, streamed := range []bool{true, false} {
		c := start(t)
		f, err := c.Feed(t.Context(), "r", numberColumns, duck.FormatCopy, streamed)
		if err != nil {
			t.Fatal(err)
		}
		var d *duck.Drain
		if streamed {
			if d, err = c.Drain(t.Context(), "r"); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.WriteString(f, numbers(1000)); err != nil { // whole rows: nothing is wrong with them
			t.Fatal(err)
		}
		f.Abort(broken)
		if streamed {
			if _, err := io.ReadAll(d); !errors.Is(err, broken) {
				t.Errorf("the drain says %v, want %v", err, broken)
			}
		}
		if err := f.Close(); !errors.Is(err, broken) {
			t.Errorf("streamed %t: close says %v, want %v", streamed, err, broken)
		}
		if _, err := f.Write([]byte("1,1\n")); !errors.Is(err, broken) {
			t.Errorf("streamed %t: write says %v, want %v", streamed, err, broken)
		}
	}
}

func TestAnEndedContextEndsFeedAndDrain(t *testing.T) {
	c := start(t)
	why := errors.New("killed")
	ctx, cancel := context.WithCancelCause(t.Context())
	f, err := c.Feed(ctx, "r", numberColumns, duck.FormatCopy, true)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Drain(ctx, "r")
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(200*time.Millisecond, func() { cancel(why) })
	begin := time.Now()
	if _, err := io.ReadAll(d); !errors.Is(err, why) {
		t.Errorf("the drain says %v, want %v", err, why)
	}
	if err := f.Close(); !errors.Is(err, why) {
		t.Errorf("the feed says %v, want %v", err, why)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	step(t, c, "s", "select 1", false) // the engine lives on
}

func TestAClosedDrainLetsGo(t *testing.T) {
	c := start(t)
	step(t, c, "s", "select range as n, repeat('x', 100) as v from range(100000000)", true)
	for name, open := range map[string]func(context.Context, string) (*duck.Drain, error){"CSV": c.Drain, "binary": c.DrainBinary} {
		d, err := open(t.Context(), "s")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(d, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
		if _, err := d.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: reading after close says %v: a drain that was cut is not complete", name, err)
		}
	}
}

func TestAFaultInMidStreamReachesBothSides(t *testing.T) {
	c := start(t)
	f, err := c.Feed(t.Context(), "r", numberColumns, duck.FormatCopy, true)
	if err != nil {
		t.Fatal(err)
	}
	fed := make(chan error, 1)
	go func() {
		_, err := io.WriteString(f, numbers(100_000)+"x,1\n")
		for err == nil { // until somebody says no
			_, err = io.WriteString(f, numbers(10_000))
		}
		fed <- errors.Join(err, f.Close())
	}()
	d, err := c.Drain(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	_, drained := io.ReadAll(d)
	for who, err := range map[string]error{"drain": drained, "feed": <-fed} {
		if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), `"x"`) {
			t.Errorf("the %s says %v, want that x is no bigint", who, err)
		}
	}
}

func TestParameters(t *testing.T) {
	c := start(t)
	value := func(s string) *string { return &s }
	err := c.Set(t.Context(), []duck.Parameter{
		{Name: "Min", Type: "numeric", Value: value("10.50")},
		{Name: "min", Type: "integer", Value: value("2")},
		{Name: "who", Type: "text", Value: value("x'; drop table r; --")},
		{Name: "day", Type: "date", Value: value("2026-02-28")},
		{Name: "at", Type: "timestamptz", Value: value("2026-02-28 12:00:00+02")},
		{Name: "yes", Type: "boolean", Value: value("true")},
		{Name: "id", Type: "uuid", Value: value("A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11")},
		{Name: "big", Type: "bigint", Value: value("9223372036854775807")},
		{Name: "tiny", Type: "numeric", Value: value("-1.5e-3")},
		{Name: "none", Type: "bigint", Value: nil},
	})
	if err != nil {
		t.Fatal(err)
	}
	step(t, c, "r", "select 3::decimal(18,2) as price, $who as who", true)
	step(t, c, "s", `select price * $Min as a, $min + 1 as b, who, $day + 1 as d, $at as at, not $yes as y, $id as id, $big as big, $tiny as tiny, $none is null as n, '$min' as q from r -- $x`, true)
	want := `31.5000,3,x'; drop table r; --,2026-03-01,2026-02-28 10:00:00+00,false,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,9223372036854775807,-0.0015,true,$min` + "\n"
	if got := drain(t, c, "s"); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for _, p := range []duck.Parameter{
		{Name: "x", Type: "integer", Value: value("0 or 1=1")},
		{Name: "x", Type: "numeric", Value: value("NaN")},
		{Name: "x", Type: "numeric", Value: value("1e999999999")},
		{Name: "x", Type: "numeric", Value: value(strings.Repeat("9", 39))},
		{Name: "x", Type: "date", Value: value("someday")},
		{Name: "x", Type: "point", Value: nil},
		{Name: "", Type: "text", Value: nil},
	} {
		if err := c.Set(t.Context(), []duck.Parameter{p}); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s %s is taken: %v", p.Type, *cmpOr(p.Value), err)
		}
	}
}

func cmpOr(s *string) *string {
	if s == nil {
		return new(string)
	}
	return s
}

func TestLooks(t *testing.T) {
	c := start(t)
	feed(t, c, "r", false, "1,\n2,\"\"\n,x\n", column("a", "integer"), column("b", "text"))
	columns, rows, err := c.Rows(t.Context(), "r", 10)
	if err != nil || len(rows) != 3 || !slices.Equal(columns, []duck.Column{column("a", "integer"), column("b", "text")}) {
		t.Fatalf("got %v, %v, %v", columns, rows, err)
	}
	if rows[0][1] != nil || rows[1][1] == nil || *rows[1][1] != "" || rows[2][0] != nil {
		t.Errorf("NULL and empty text are mixed up: %v", rows)
	}
	counts, err := c.Counts(t.Context(), "r")
	if err != nil || counts.Rows != 3 || !slices.Equal(counts.Values, []int64{2, 2}) {
		t.Errorf("got the counts %+v, %v", counts, err)
	}
	for sql, want := range map[string]string{
		"select count(*) from r": "3", "select a from r where b = 'x'": "NULL", "select true": "true", "select 1.50": "1.50", "select b from r where a = 2": "",
	} {
		if got, err := c.Assert(t.Context(), sql); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", sql, got, err, want)
		}
	}
	for _, sql := range []string{"select a from r", "select 1 where false", "select 1, 2"} {
		if got, err := c.Assert(t.Context(), sql); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %q, %v; want an error", sql, got, err)
		}
	}
}
