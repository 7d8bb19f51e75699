// Package direct writes large files past the page cache. Measured on an ext4 on a virtual
// disk: copying a restored cluster into the cache took more of the processors than
// decrypting, decompressing and verifying it together, and pushed out what other programs
// of the machine had there.
package direct
