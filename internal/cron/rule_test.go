package cron_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/cron"
)

// anchor is when rates begin in every test.
var anchor = time.Date(2026, 3, 1, 10, 0, 45, 300, time.UTC)

func parse(t testing.TB, expression, zone string) cron.Rule {
	t.Helper()
	r, err := cron.Parse(expression, zone, anchor)
	if err != nil {
		t.Fatalf("%q: %v", expression, err)
	}
	return r
}

// The runs after a time, on the zone's clock with its offset.
func TestNext(t *testing.T) {
	t.Parallel()
	const layout = "2006-01-02T15:04:05Z07:00"
	for _, c := range []struct {
		name, expression, zone, after string
		want                          []string
	}{
		{"daily", "30 2 * * *", "UTC", "2026-03-01T02:30:00Z", []string{"2026-03-02T02:30:00Z", "2026-03-03T02:30:00Z"}},
		{"just before", "30 2 * * *", "UTC", "2026-03-01T02:29:59.999Z", []string{"2026-03-01T02:30:00Z"}},
		{"within the second", "30 2 * * *", "UTC", "2026-03-01T02:30:00.001Z", []string{"2026-03-02T02:30:00Z"}},
		{"a macro", "@Weekly", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-08T00:00:00Z"}},
		{"hourly", "@hourly", "Europe/Berlin", "2026-03-29T01:30:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"}},
		{"names and lists", "0 22 * jan,JUL mon-wed,FRI", "UTC", "2026-01-31T00:00:00Z", []string{"2026-07-01T22:00:00Z", "2026-07-03T22:00:00Z", "2026-07-06T22:00:00Z"}},
		{"Sunday is 0 and 7", "0 0 * * 7", "UTC", "2026-03-02T00:00:00Z", []string{"2026-03-08T00:00:00Z"}},
		{"Friday to Sunday", "0 0 * * 5-7", "UTC", "2026-03-02T00:00:00Z", []string{"2026-03-06T00:00:00Z", "2026-03-07T00:00:00Z", "2026-03-08T00:00:00Z", "2026-03-13T00:00:00Z"}},
		{"over the end of the week", "0 0 * * FRI-MON/2", "UTC", "2026-03-02T00:00:00Z", []string{"2026-03-06T00:00:00Z", "2026-03-08T00:00:00Z", "2026-03-13T00:00:00Z"}},
		{"every day of the week", "0 0 * * 0-7", "UTC", "2026-03-02T00:00:00Z", []string{"2026-03-03T00:00:00Z"}},
		{"days add up", "0 0 13 * FRI", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z", "2026-03-20T00:00:00Z", "2026-03-27T00:00:00Z", "2026-04-03T00:00:00Z", "2026-04-10T00:00:00Z", "2026-04-13T00:00:00Z"}},
		{"a star makes both hold", "0 0 */2 * MON", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-09T00:00:00Z", "2026-03-23T00:00:00Z"}},
		{"last day", "0 2 L * *", "UTC", "2028-01-31T02:00:00Z", []string{"2028-02-29T02:00:00Z", "2028-03-31T02:00:00Z"}},
		{"last day of some months", "0 2 l FEB,APR ?", "UTC", "2026-01-01T00:00:00Z", []string{"2026-02-28T02:00:00Z", "2026-04-30T02:00:00Z"}},
		{"leap day over 2100", "0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z", []string{"2104-02-29T00:00:00Z"}},
		{"31st", "0 0 31 * *", "UTC", "2026-03-31T00:00:00Z", []string{"2026-05-31T00:00:00Z"}},

		{"AWS counts from Sunday 1", "cron(0 12 ? * 2 *)", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-02T12:00:00Z", "2026-03-09T12:00:00Z"}},
		{"AWS names", "cron(15 10 ? * MON-FRI 2026-2027)", "UTC", "2026-12-31T10:15:00Z", []string{"2027-01-01T10:15:00Z", "2027-01-04T10:15:00Z"}},
		{"AWS steps", "cron(0/10 * ? * 7/1 *)", "UTC", "2026-03-07T23:45:00Z", []string{"2026-03-07T23:50:00Z", "2026-03-14T00:00:00Z"}},
		{"AWS last day", "CRON( 0 2 L * ? * )", "UTC", "2026-03-01T00:00:00Z", []string{"2026-03-31T02:00:00Z"}},
		{"AWS year is over", "cron(0 0 1 1 ? 2025)", "UTC", "2026-03-01T00:00:00Z", []string{""}},
		{"a year beyond the horizon", "cron(0 0 1 1 ? 2090)", "UTC", "2026-03-01T00:00:00Z", []string{""}},

		{"rate from its anchor", "rate(5 minutes)", "Europe/Berlin", "2026-03-01T12:00:00+01:00", []string{"2026-03-01T12:00:45+01:00", "2026-03-01T12:05:45+01:00"}},
		{"rate before its anchor", "rate(1 hour)", "UTC", "2026-01-01T00:00:00Z", []string{"2026-03-01T11:00:45Z"}},
		{"rate at a run", "rate(1 hour)", "UTC", "2026-03-01T11:00:45Z", []string{"2026-03-01T12:00:45Z"}},
		{"a day of a rate has 24 hours", "rate(1 day)", "Europe/Berlin", "2026-03-28T12:00:00+01:00", []string{"2026-03-29T12:00:45+02:00"}},

		{"once", "at(2026-12-01T02:00:30)", "America/New_York", "2026-03-01T00:00:00Z", []string{"2026-12-01T02:00:30-05:00", ""}},
		{"once in the gap", "at(2026-03-29T02:30:00)", "Europe/Berlin", "2026-03-01T00:00:00Z", []string{"2026-03-29T03:00:00+02:00", ""}},
		{"once at a time that comes twice", "at(2026-10-25T02:30:00)", "Europe/Berlin", "2026-03-01T00:00:00Z", []string{"2026-10-25T02:30:00+02:00", ""}},
		{"once on a day that Samoa left out", "at(2011-12-30T12:00:00)", "Pacific/Apia", "2011-12-01T00:00:00Z", []string{"2011-12-31T00:00:00+14:00", ""}},

		{"Berlin, spring", "30 2 * * *", "Europe/Berlin", "2026-03-28T02:30:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"}},
		{"Berlin, autumn", "30 2 * * *", "Europe/Berlin", "2026-10-24T02:30:00+02:00", []string{"2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"}},
		{"two times in the gap are one run", "15,45 2 * * *", "Europe/Berlin", "2026-03-28T02:45:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:15:00+02:00"}},
		{"the gap's end is a time, too", "0 2,3 * * *", "Europe/Berlin", "2026-03-28T03:00:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"}},
		{"quarters go on in spring", "*/15 * * * *", "Europe/Berlin", "2026-03-29T01:40:00+01:00", []string{"2026-03-29T01:45:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:15:00+02:00"}},
		{"quarters run at both in autumn", "*/30 * * * *", "Europe/Berlin", "2026-10-25T02:30:00+02:00", []string{"2026-10-25T02:00:00+01:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:00:00+01:00"}},
		{"each hour, at a minute of the gap", "30 * * * *", "Europe/Berlin", "2026-03-29T01:30:00+01:00", []string{"2026-03-29T03:30:00+02:00"}},
		{"every second hour makes up for the gap", "30 */2 * * *", "Europe/Berlin", "2026-03-29T00:30:00+01:00", []string{"2026-03-29T03:00:00+02:00", "2026-03-29T04:30:00+02:00"}},
		{"New York, spring", "30 2 * * SUN", "America/New_York", "2026-03-08T01:00:00-05:00", []string{"2026-03-08T03:00:00-04:00", "2026-03-15T02:30:00-04:00"}},
		{"New York, autumn", "30 1 * * *", "America/New_York", "2026-10-31T12:00:00-04:00", []string{"2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"}},
		{"half an hour, spring", "15 2 * * *", "Australia/Lord_Howe", "2026-10-04T01:00:00+10:30", []string{"2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"}},
		{"half an hour, autumn", "45 1 * * *", "Australia/Lord_Howe", "2026-04-05T01:00:00+11:00", []string{"2026-04-05T01:45:00+11:00", "2026-04-06T01:45:00+10:30"}},
		{"no midnight", "0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00+02:00", []string{"2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"}},
		{"no midnight on the first", "@monthly", "America/Asuncion", "2017-09-15T00:00:00-04:00", []string{"2017-10-01T01:00:00-03:00"}},
		{"before and after Ramadan", "30 2 * * *", "Africa/Casablanca", "2026-02-14T12:00:00+01:00", []string{"2026-02-15T02:30:00+01:00", "2026-02-16T02:30:00Z"}},
		{"after Ramadan", "30 2 * * *", "Africa/Casablanca", "2026-03-21T12:00:00Z", []string{"2026-03-22T03:00:00+01:00", "2026-03-23T02:30:00+01:00"}},
		{"the last day of a far leap year", "0 0 1 1 *", "Europe/Berlin", "2040-12-30T12:00:00+01:00", []string{"2041-01-01T00:00:00+01:00", "2042-01-01T00:00:00+01:00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := parse(t, c.expression, c.zone)
			at, err := time.Parse(time.RFC3339Nano, c.after)
			if err != nil {
				t.Fatal(err)
			}
			zone, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for range c.want {
				if at = r.Next(at); at.IsZero() {
					got = append(got, "")
					break
				}
				if at.Location() != time.UTC {
					t.Errorf("got a time of %s, want UTC", at.Location())
				}
				got = append(got, at.In(zone).Format(layout))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q after %s\n got %q\nwant %q", c.expression, c.after, got, c.want)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, expression, zone, says string }{
		{"nothing", " ", "UTC", "missing"},
		{"seconds", "0 30 2 * * *", "UTC", "6 fields"},
		{"too few fields", "30 2 * *", "UTC", "4 fields"},
		{"an hour that is not", "0 24 * * *", "UTC", "24 in its field for hour"},
		{"a day that is not", "0 0 0 * *", "UTC", "0 in its field for day of month"},
		{"a weekday that is not", "0 0 * * 8", "UTC", "from 0 to 7"},
		{"AWS has no weekday 0", "cron(0 0 ? * 0 *)", "UTC", "from 1 to 7"},
		{"31 February", "0 0 31 2 *", "UTC", "none of its months"},
		{"31 of short months", "0 0 31 APR,JUN *", "UTC", "none of its months"},
		{"30 February of a year", "cron(0 0 30 2 ? 2027)", "UTC", "none of its months"},
		{"a range that goes backwards", "0 22-4 * * *", "UTC", "backwards"},
		{"a step of nothing", "*/0 * * * *", "UTC", `step "0"`},
		{"a step that is not one", "*/90 * * * *", "UTC", "does not fit"},
		{"an empty part of a list", "1,,2 * * * *", "UTC", `""`},
		{"a sign", "+5 * * * *", "UTC", `"+5"`},
		{"a name of another field", "0 0 * MON *", "UTC", `"MON"`},
		{"a question about hours", "0 ? * * *", "UTC", `"?"`},
		{"the last day and others", "0 0 L,15 * *", "UTC", "L, the last day"},
		{"days before the last", "0 0 L-3 * *", "UTC", "L, the last day"},
		{"the last day and weekdays", "0 0 L * MON", "UTC", "L, the last day"},
		{"the last Friday", "0 0 * * 5L", "UTC", `"5L"`},
		{"the third Friday", "0 0 * * FRI#3", "UTC", `"FRI#3"`},
		{"AWS with both days", "cron(0 0 1 * MON *)", "UTC", "must be ?"},
		{"AWS without a year", "cron(0 0 1 * ?)", "UTC", "5 fields"},
		{"a year that is far away", "cron(0 0 1 * ? 9999)", "UTC", "from 1970 to 2199"},
		{"a zone inside", "TZ=UTC 0 0 * * *", "UTC", "6 fields"},
		{"another macro", "@reboot", "UTC", "no form"},
		{"a macro with a time", "@every 5m", "UTC", "no form"},
		{"a form that is not", "every(5 minutes)", "UTC", "no form"},
		{"a form that is not closed", "rate(5 minutes", "UTC", "no form"},
		{"a rate of nothing", "rate(0 minutes)", "UTC", "not a number of"},
		{"a rate without a unit", "rate(5)", "UTC", "not a number of"},
		{"a rate of seconds", "rate(5 seconds)", "UTC", "not a number of"},
		{"a rate that is too long", "rate(367 days)", "UTC", "more than 366 days"},
		{"a day that is not", "at(2026-02-30T00:00:00)", "UTC", "not a date"},
		{"a date with a zone", "at(2026-02-03T00:00:00Z)", "UTC", "not a date"},
		{"a fraction of a second", "at(2026-02-03T00:00:00.5)", "UTC", "not a date"},
		{"too long", strings.Repeat("1,", 200) + "1 * * * *", "UTC", "bytes"},
		{"no zone", "0 0 * * *", "", "time zone"},
		{"this machine's zone", "0 0 * * *", "Local", "time zone"},
		{"a zone that is not", "0 0 * * *", "Europe/Bonn", "Europe/Bonn"},
		{"a file", "0 0 * * *", "../../etc/passwd", "time zone"},
		{"a zone with leap seconds", "0 0 * * *", "right/UTC", "time zone"},
		{"a zone with a line end", "0 0 * * *", "UTC\n", "time zone"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := cron.Parse(c.expression, c.zone, anchor)
			if got := holdfast.ErrorCode(err); got != holdfast.CodeInvalid {
				t.Fatalf("got %v with code %q, want invalid", err, got)
			}
			if !strings.Contains(err.Error(), c.says) || holdfast.ErrorHint(err) == "" {
				t.Errorf("got %q and hint %q, want %q in it and a hint", err, holdfast.ErrorHint(err), c.says)
			}
		})
	}
}

func TestRuleKeepsItsText(t *testing.T) {
	t.Parallel()
	r := parse(t, "  30\t2 * *  mon ", "Europe/Berlin")
	if r.String() != "30 2 * * mon" || r.Zone() != "Europe/Berlin" {
		t.Errorf("got %q in %q", r, r.Zone())
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range []string{
		"* * * * *", "*/15 0-6,22 L JAN-JUN/2 *", "0 0 1 1 MON", "0 0 29 2 *", "@daily", "cron(0/5 2 ? * 2-6 2026-2030)", "rate(6 hours)",
		"at(2026-03-29T02:30:00)", "0 0 L * ?", "5/70 * * * 7/1", "cron(* * 31 2 ? *)", "rate(999999999999 days)", "at()", "cron()", "L L L L L",
	} {
		for i := range zones {
			f.Add(e, uint8(i), anchor.Unix())
		}
	}
	f.Fuzz(func(t *testing.T, expression string, zone uint8, unix int64) {
		r, err := cron.Parse(expression, zones[int(zone)%len(zones)], anchor)
		if err != nil {
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid || strings.ContainsAny(holdfast.ErrorMessage(err), "\n\r\x00") {
				t.Fatalf("%q: got %v", expression, err)
			}
			return
		}
		again, err := cron.Parse(r.String(), r.Zone(), anchor)
		if err != nil {
			t.Fatalf("%q was %q: %v", r, expression, err)
		}
		at := time.Unix(unix%(1<<32), 0)
		for range 5 {
			next := r.Next(at)
			if other := again.Next(at); !other.Equal(next) {
				t.Fatalf("%q after %s: got %s, and %s when it is read again", r, at, next, other)
			}
			if next.IsZero() {
				return
			}
			if !next.After(at) {
				t.Fatalf("%q after %s: got %s", r, at, next)
			}
			if mid := at.Add(next.Sub(at) / 2); !r.Next(mid).Equal(next) {
				t.Fatalf("%q: %s after %s, but %s after %s", r, next, at, r.Next(mid), mid)
			}
			at = next
		}
	})
}

func BenchmarkNext(b *testing.B) {
	r := parse(b, "0 2 29 2 *", "Europe/Berlin")
	at := time.Date(2096, 3, 1, 0, 0, 0, 0, time.UTC)
	for b.Loop() {
		r.Next(at)
	}
}
