// Package apitest runs golden exchanges: files that hold requests, their answers
// byte for byte, and their effect in the domain.
//
//	# Start a full backup. source: docs/api/enterprise.md#e3 (documented)
//	-- given --
//	job berlin nightly
//	-- request --
//	POST /data-protection/v2/sites/berlin/jobs/1001/execute
//	{"run_type":"FULL"}
//	-- response --
//	202
//	x-resource-id: 1001
//	{}
//	-- domain --
//	execution 1001 of job 1001: BACKUP QUEUED run_type=FULL
//	event execution.queued: execution 1001, by token admin through baasenterprise
//	ring default
//
// A file holds one or several exchanges, which run in order in one world: the
// real service on a real SQLite store, a dispatcher that only remembers, a clock
// that stands still, and ids from 1001. The world begins with the sites berlin
// and oslo and the tokens admin, operator, reader and oslo (an admin of that site
// alone). A request without an Authorization line has the token admin; {operator}
// in a header stands for that token, {basic:operator} for it as the password of
// HTTP Basic, {session1} for that of the first session that was opened, and an
// empty Authorization line for none. The section given changes
// the world as dispatch would, or as time does: see the commands in given.go.
//
// The flag -update writes what was answered into the files.
package apitest
