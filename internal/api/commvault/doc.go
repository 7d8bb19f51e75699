// Package commvault serves the part of Commvault's REST API that backs up and
// restores PostgreSQL, under both of its roots: /commandcenter/api and
// /webconsole/api. What it answers, and where each fact comes from, is in
// docs/api/commvault.md.
//
// Its words are not ours. A client is a host, an instance is a site, a subclient
// is a BACKUP job, a job is an execution, and a task is a submission. Each
// instance has two backup sets, FSBasedBackupSet for physical and
// DumpBasedBackupSet for logical backups; neither is one of our backup sets. The
// CommCell is the account. map.go translates.
package commvault
