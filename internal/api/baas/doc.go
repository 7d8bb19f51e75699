// Package baas holds what the two Teradata dialects share, which is all but who
// asks and which site a request is about: the routes, the shapes on the wire, the
// translation between them and the domain, and how errors are written. A dialect
// is a [Dialect], which is words, and a [Scope], which is code; [New] makes its
// handler. The dialects do not know each other.
//
// Words: a Teradata "job" is our job and its "execution" our execution; a "save
// set" is our backup set. Keys are spelled, and stand in the order, of the
// published samples, misspellings and mixed case included. Types are stable: an
// object is always there with all its keys, an array is an array, a number is 0
// and a flag false when there is nothing to say; only strings may be null.
//
// in comments are the decisions that docs/api/enterprise.md lists.
package baas
