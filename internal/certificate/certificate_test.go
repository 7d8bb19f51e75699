package certificate_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/certificate"
)

func TestSelfSignedIsTrustedByItself(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	cert, key, err := certificate.SelfSigned("holdfast", []string{"backup.example.com"}, []net.IP{net.IPv4(127, 0, 0, 1)}, now, 48*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	for _, c := range []struct {
		name string
		at   time.Time
		good bool
	}{
		{"backup.example.com", now, true},
		{"127.0.0.1", now, true},
		{"backup.example.com", now.Add(-time.Hour), true},
		{"backup.example.com", now.Add(49 * time.Hour), false},
		{"other.example.com", now, false},
	} {
		_, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: c.name, Roots: roots, CurrentTime: c.at})
		if (err == nil) != c.good {
			t.Errorf("%s at %s: got %v, want trust %t", c.name, c.at, err, c.good)
		}
	}
}
