package server

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/certificate"
	"github.com/holdfast-backup/holdfast/internal/durable"
)

// The files of a certificate that signs itself.
const (
	certName     = "tls.crt"
	keyName      = "tls.key"
	selfLife     = 10 * 365 * 24 * time.Hour
	reloadPeriod = 10 * time.Second // between two looks at the files
)

// keyPair is a key pair from files, which may be renewed while we run.
type keyPair struct {
	cert, key string

	mu      sync.Mutex // guards the fields below
	pair    *tls.Certificate
	changed time.Time // of the newer file
	looked  time.Time
}

func loadCertificate(cert, key string) (*keyPair, error) {
	c := &keyPair{cert: cert, key: key}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the TLS certificate %s with the key %s cannot be used: %v", cert, key, err).
			WithHint("give files in PEM, the server's certificate first, that belong together")
	}
	c.pair, c.changed = &pair, newest(cert, key)
	return c, nil
}

// get returns the newest pair that could be read: a renewal that is half written
// changes nothing.
func (c *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.looked) < reloadPeriod {
		return c.pair, nil
	}
	c.looked = now
	if changed := newest(c.cert, c.key); !changed.Equal(c.changed) {
		if pair, err := tls.LoadX509KeyPair(c.cert, c.key); err == nil {
			c.pair, c.changed = &pair, changed
		}
	}
	return c.pair, nil
}

func newest(paths ...string) time.Time {
	var t time.Time
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.ModTime().After(t) {
			t = info.ModTime()
		}
	}
	return t
}

// SelfSigned returns the files of a certificate for this machine, which it makes
// in dir when they are not there yet. Clients trust it by its file: it is signed
// by nobody else.
func SelfSigned(dir string) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, certName), filepath.Join(dir, keyName)
	if _, err := os.Stat(certFile); err == nil {
		if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
			return "", "", holdfast.Wrap(holdfast.CodeInvalid, err, "the certificate %s cannot be used: %v", certFile, err).
				WithHint("remove %s and %s to have new ones made", certFile, keyFile)
		}
		return certFile, keyFile, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", "", holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot look at %s: %v", certFile, err)
	}
	cert, key, err := selfSigned(time.Now())
	if err != nil {
		return "", "", err
	}
	// The certificate comes last: when it is there, both are.
	for _, write := range []func() error{
		func() error { return durable.MkdirAll(dir, 0o700) },
		func() error { return durable.Replace(keyFile, key, 0o600) },
		func() error { return durable.Replace(certFile, cert, 0o644) },
	} {
		if err := write(); err != nil {
			return "", "", holdfast.Wrap(holdfast.CodeUnavailable, err, "the certificate %s cannot be written: %v", certFile, err)
		}
	}
	return certFile, keyFile, nil
}

func selfSigned(now time.Time) (cert, key []byte, err error) {
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "" && host != names[0] {
		names = append(names, host)
	}
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	return certificate.SelfSigned("holdfast "+names[len(names)-1], names, ips, now, selfLife)
}
