// Package native is our own API: /api/v1, described by the OpenAPI 3.1 document
// that it serves at /api/v1/openapi.json. The command line is a client of it and
// of nothing else, through the package client.
//
// Where a path or a field names a host, a site, a repository or a worker, it
// takes the id or the name (a site's slug); a job is named by its id or as
// site/name. Integers are exact, times are RFC 3339 in UTC, and a field that
// holds nothing is left out. A secret goes in, or comes out once when it is
// made, and is never seen again. Errors are problem details (RFC 9457) with our
// code and, where there is something to do about it, a hint: see [Problem].
package native
