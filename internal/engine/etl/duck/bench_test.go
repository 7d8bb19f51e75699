package duck_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// benchRows is the size of the trial that this engine was chosen by.
const benchRows = 5_000_000

// orders is a block of rows that is fed over and over.
func orders(rows int) []byte {
	var b bytes.Buffer
	for i := range rows {
		status := "open"
		if i%10 == 0 {
			status = "cancelled"
		}
		fmt.Fprintf(&b, "%d,%d,sku-%06d,%d,%d.%02d,%s,2026-03-%02d 10:%02d:%02d.123456+00,", i, i%100_000, i%5000, i%7+1, i%900, i%100, status, i%28+1, i%60, i%60)
		if i%3 == 0 {
			b.WriteString("\"a note, with a comma\"")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

var orderColumns = []duck.Column{
	column("id", "bigint"), column("customer_id", "integer"), column("sku", "text"), column("qty", "integer"),
	column("price", "numeric(12,2)"), column("status", "text"), column("updated_at", "timestamp with time zone"), column("note", "text"),
}

const benchJoin = `select o.id, o.customer_id, c.region, upper(o.sku) as sku, o.qty, o.price, o.qty * o.price as total, o.status, o.updated_at, o.note
from orders o join customers c on c.id = o.customer_id where o.status <> 'cancelled'`

// BenchmarkJoin feeds five million rows, joins them and drains nine of ten.
func BenchmarkJoin(b *testing.B) {
	block := orders(100_000)
	var customers strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&customers, "%d,region-%d\n", i, i%50)
	}
	for _, streamed := range []bool{true, false} {
		b.Run("streamed="+strconv.FormatBool(streamed), func(b *testing.B) {
			for b.Loop() {
				c := startWith(b, duck.Config{Memory: 512 * mib, Temp: 10 << 30, Threads: 2})
				feed(b, c, "customers", false, customers.String(), column("id", "integer"), column("region", "text"))
				f, err := c.Feed(b.Context(), "orders", orderColumns, duck.FormatCopy, streamed)
				if err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				write := func() error {
					for range benchRows / 100_000 {
						if _, err := f.Write(block); err != nil {
							return err
						}
					}
					return f.Close()
				}
				fed := make(chan error, 1)
				if streamed {
					go func() { fed <- write() }()
				} else {
					fed <- write()
				}
				step(b, c, "joined", benchJoin, true)
				d, err := c.Drain(b.Context(), "joined")
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, d, make([]byte, 256<<10))
				if err != nil {
					b.Fatal(err)
				}
				if err := <-fed; err != nil {
					b.Fatal(err)
				}
				elapsed := time.Since(start)
				if d.Rows() != benchRows*9/10 {
					b.Fatalf("got %d rows", d.Rows())
				}
				b.ReportMetric(float64(d.Rows())/elapsed.Seconds(), "rows/s")
				b.ReportMetric(float64(n)/elapsed.Seconds()/1e6, "MB/s")
				b.ReportMetric(float64(peak(b, c.Pid()))/mib, "peak-MiB")
				b.ReportMetric(cpu(b, c.Pid()).Seconds(), "cpu-s")
				if err := c.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// peak returns the most memory that a process has had, in bytes.
func peak(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatal("the process has no VmHWM")
	return 0
}

// cpu returns the processor time that a process has taken.
func cpu(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	const tick = 10 * time.Millisecond // USER_HZ, of proc(5)
	return time.Duration(user+system) * tick
}
