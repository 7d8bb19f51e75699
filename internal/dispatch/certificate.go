package dispatch

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/certificate"
	"github.com/holdfast-backup/holdfast/internal/durable"
)

// certificateLife is long: workers know the certificate itself, not who signed
// it, and do not look at its dates.
const certificateLife = 30 * 365 * 24 * time.Hour

// EnsureCertificate reads the certificate of the listener for workers from a
// file, and makes it, signed by itself, when there is none. The file holds
// certificate and key, and only its owner may read it.
func EnsureCertificate(path string, now time.Time) (tls.Certificate, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = makeCertificate(path, now)
	}
	if err != nil {
		return tls.Certificate{}, holdfast.Wrap(holdfast.CodeUnavailable, err, "the certificate of the listener for workers, %s, cannot be read or made", path)
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return tls.Certificate{}, holdfast.Wrap(holdfast.CodeInvalid, err, "%s does not hold a certificate and its key", path).
			WithHint("put it back from where you keep its copy; with a new one every worker must join again")
	}
	return cert, nil
}

func makeCertificate(path string, now time.Time) ([]byte, error) {
	cert, key, err := certificate.SelfSigned("holdfast workers", []string{"holdfast"}, nil, now, certificateLife)
	if err != nil {
		return nil, err
	}
	both := slices.Concat(cert, key)
	return both, durable.Replace(path, both, 0o600)
}
