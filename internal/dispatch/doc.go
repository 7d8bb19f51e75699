// Package dispatch is the control plane's side of running executions: it rings
// the bells, answers the asks, takes the beats, notices silence, and guards every
// write with the fence. The truth and the order of the queue are the metadata
// database's; the messages, over a NATS server inside the process, only carry
// words, and any of them may be lost.
//
// A [Server] is that NATS server, with the authentication of workers. A
// [Dispatcher] serves their questions. [Logs] keeps what executions log.
//
// Terms: an order is what a worker gets to run an execution once; its fence is
// the number that outdates older orders; a fence is closed when its execution
// has ended, rests, or waits again. What a closed fence intended but did not
// finish is an orphan, and is reaped.
package dispatch
