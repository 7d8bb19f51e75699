// Package duck lets SQL run in DuckDB, which lives in a process of its own,
// holdfast-etl: it may die, by a fault of its own or for want of memory, and then an
// execution fails and nothing else. Here are the parent's side ([Client]), the words
// that the two sides exchange ([Request], [Response]) and the table of types that
// both use ([Types], [Results]).
//
// # Relations
//
// Rows go in as relations: from a pipe that the parent writes ([Client.Feed]) or from
// files that the parent has opened ([Client.Read]). Steps ([Client.Step]) make
// relations of relations, each by one SELECT. Rows leave by a pipe ([Client.Drain],
// and in binary [Client.DrainBinary]) or into a file that the parent has opened ([Client.WriteParquet], [Client.WriteCSV]).
//
// A relation is kept, as a table of the engine, or streamed: then it is computed when
// a kept step, an assertion, a drain or a file needs it. A streamed pipe can be read
// once, so one chain of streamed relations leads from it to one reader, and rows run
// through it in one pass:
//
//	feed, err := c.Feed(ctx, "orders", columns, duck.FormatBinary, true)
//	err = c.Step(ctx, "priced", "select id, qty * price as total from orders", true)
//	go func() { copyTo(feed); feed.Close() }()  // blocks until the drain reads
//	rows, err := c.Drain(ctx, "priced")
//	copyFrom(rows)
//
// Who feeds a streamed pipe and who drains must be two goroutines: a pipe holds little.
//
// # Protocol
//
// Requests are lines of JSON on the child's standard input, responses lines on its
// standard output, and nothing else goes there; its standard error is text for the
// execution's log. Several requests may be under way at once, and each gets one
// response, in any order. Open files and the ends of pipes travel ahead of the
// request that names their number, as descriptors over a socket that the child finds
// as descriptor 3: the child opens no file by a path of ours, and its sandbox lets
// SQL open none. The end of standard input is the end of the child.
package duck
