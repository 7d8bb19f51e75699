// Package s3 keeps objects in a bucket of a server that speaks Amazon's S3 protocol.
//
// It tries each call once; decorate it with package retry. What a repository asks of
// the server beyond the protocol's beginnings is one thing: PUT with the header
// If-None-Match: * (conditional writes; at Amazon since August 2024), by which an
// object is written once. [Bucket.CheckConditions] finds a server that ignores it.
package s3
