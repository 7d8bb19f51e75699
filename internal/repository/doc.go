// Package repository keeps backup sets at rest, in the restic repository format
// version 2: what it writes, restic 0.14 and later list, check and restore, and
// the other way round. docs/format describes every byte.
//
// A [Repository] lies in an [objstore.Bucket]. A [Writer] is an engine.Sink: it
// cuts files into blobs, leaves out the ones that are known, packs the rest, and
// ends with a snapshot. A [Reader] is an engine.Source for one snapshot. Both
// hold a lock while they live. A [Kit] is what a person needs to read a
// repository when everything else is gone.
//
// Words: a blob is a piece of a file or a directory's listing (a tree), named by
// the SHA-256 of its content; a pack is an object of many blobs; an index object
// says which blobs lie where; a snapshot names the tree of one backup set.
//
// Every byte that comes out of a bucket is taken for hostile until it verifies:
// each size read from it has a limit, and each name in a tree is checked.
package repository
