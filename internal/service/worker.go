package service

import "github.com/holdfast-backup/holdfast"

// LocalWorkerName is the name of the worker inside serve.
const LocalWorkerName = "local"

// Invite asks for a join token.
type Invite struct {
	Name  string            // of the worker to come
	Hosts []holdfast.HostID // it will stand on
	Pools []string          // it will serve; empty: the default pool
}
