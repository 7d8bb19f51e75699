// Package rows moves rows between PostgreSQL servers, files and the engine, and
// changes them on their way, without making values of their bytes.
//
// A [Transfer] has three parts that work at the same time, each a goroutine: a
// [Feed] that gives bytes, a [Program] that reads rows in them, changes these and
// writes them again, and a [Drain] that takes bytes. Between them go chunks of 256
// KiB, of which a few exist, so a slow part makes the others wait. Without a program
// the bytes pass as they are.
//
// Rows come and go in two formats: [Binary], the tuples of COPY (FORMAT binary), and
// [CSV]. Within a program each value has the binary form of its PostgreSQL type, and
// a nil value is NULL. Where a value becomes text, it becomes what a server writes
// with the time zone UTC, the date style ISO and bytea_output hex.
//
// A row that cannot be read, changed or is refused by a check is a [Reject].
package rows
