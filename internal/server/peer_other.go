//go:build !linux

package server

import (
	"errors"
	"net"
)

// peerUID knows no way to ask here: the socket needs a token like any other
// connection.
func peerUID(*net.UnixConn) (int, error) { return 0, errors.ErrUnsupported }
