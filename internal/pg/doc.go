// Package pg holds PostgreSQL's own values: log positions, timelines, names of
// WAL segments and relation files, pg_control, page headers and checksums, and
// the small text files of a backup. It does no I/O of its own.
//
// A cluster is one data directory and its tablespaces. An [LSN] is a position in
// its write-ahead log (WAL), which is kept in segments of a fixed size; a
// [Timeline] counts the cluster's histories. A relation is stored in forks, each
// fork in segment files of a fixed number of blocks; a block is also called a
// page. Sizes of all of these are the cluster's own and come from [Control].
//
// Layouts are those of a little-endian machine with 8-byte alignment: every
// platform that PostgreSQL 13 to 18 is packaged for.
package pg
