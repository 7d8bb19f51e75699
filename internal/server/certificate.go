package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// The files of a certificate that signs itself.
const (
	certName     = "tls.crt"
	keyName      = "tls.key"
	selfLife     = 10 * 365 * 24 * time.Hour
	reloadPeriod = 10 * time.Second // between two looks at the files
)

// certificate is a key pair from files, which may be renewed while we run.
type certificate struct {
	cert, key string

	mu      sync.Mutex // guards the fields below
	pair    *tls.Certificate
	changed time.Time // of the newer file
	looked  time.Time
}

func loadCertificate(cert, key string) (*certificate, error) {
	c := &certificate{cert: cert, key: key}
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
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
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
	if err := errors.Join(os.MkdirAll(dir, 0o700), writeFile(keyFile, key, 0o600)); err != nil {
		return "", "", err
	}
	return certFile, keyFile, writeFile(certFile, cert, 0o644)
}

func selfSigned(now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make TLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("make TLS serial number: %w", err)
	}
	names := []string{"localhost"}
	if host, err := os.Hostname(); err == nil && host != "" && host != names[0] {
		names = append(names, host)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "holdfast " + names[len(names)-1]},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(selfLife),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // some clients trust only what may sign
		MaxPathLenZero:        true,
		DNSNames:              names,
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, fmt.Errorf("make TLS certificate: %w", err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encode TLS key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}

// writeFile makes the file whole and durable, or not at all.
func writeFile(path string, b []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tls-*") // mode 0600
	if err != nil {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot write %s: %v", path, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = errors.Join(os.Rename(f.Name(), path), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return errors.Join(holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot write %s: %v", path, err), os.Remove(f.Name()))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
