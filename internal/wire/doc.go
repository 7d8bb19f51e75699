// Package wire holds what control plane and workers say to each other: the
// subjects of the messages and the messages themselves, which are JSON of at
// most [MaxMessage] bytes. Both ends treat what they read as untrusted: [Decode]
// checks every message before anybody uses it.
//
// A worker asks for an order, beats while it works on it, intends the snapshot
// that it is about to write, and finishes. The control plane rings bells and
// sends commands. Every reply of the control plane is a [Reply]; every answer to
// a command is an [Answer].
package wire
