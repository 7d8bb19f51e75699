// Package holdfast holds the domain of the data-protection service: its nouns,
// their rules and the words for what goes wrong. It imports the standard
// library only and does no I/O.
//
// A [Site] is one PostgreSQL server on a [Host]. A [Job] says what to do with
// it; each run of a job is an [Execution]. A good backup leaves a [BackupSet],
// of which each [Repository] that holds it keeps a [Copy]. An [Account] owns all
// of these, and a [Principal] acts on them with a [Credential].
//
// How an execution lives is one table: see [Status.Next].
package holdfast

// FirstID is where every id sequence starts. Commvault's own client breaks on
// instance id 1 and on client id 2, so small ids are never given out.
const FirstID = 1001

// MaxID is the largest id that a JSON number carries exactly in every reader:
// 2^53 - 1.
const MaxID = 1<<53 - 1
