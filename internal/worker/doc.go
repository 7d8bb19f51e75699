// Package worker runs executions: an engine on one side, a repository on the
// other, and the control plane at the end of a wire. A worker holds no
// credentials of the metadata database; everything that it knows of an execution
// came with its order, and everything that it may write is guarded by the
// order's fence.
package worker
