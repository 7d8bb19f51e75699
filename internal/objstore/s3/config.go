package s3

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/holdfast-backup/holdfast"
)

// Config says where a bucket is, and who we are there.
type Config struct {
	Endpoint  string // host or host:port
	Plain     bool   // HTTP without TLS
	CA        []byte // certificates in PEM that the server's is checked with; empty: the system's
	Region    string // empty: the server is asked
	Bucket    string
	Prefix    string // before every name, without slashes at its ends; empty: none
	PathStyle bool   // the bucket stands in the path, not in the host's name

	AccessKey    string
	SecretKey    holdfast.Secret
	SessionToken holdfast.Secret // of temporary credentials; empty: they are not

	StorageClass string // of new objects; empty: the bucket's default
	Encryption   string // by the server: "", "AES256", "aws:kms", or "aws:kms:" and a key's id
}

// Times that a server may take. A body may take as long as it moves: who reads or
// writes it ends it by its context.
const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 60 * time.Second // from the last byte of a request to the answer's first
)

// maxIdle is how many connections wait for their next request.
const maxIdle = 64

func (c Config) validate() error {
	switch {
	case c.Endpoint == "" || strings.ContainsAny(c.Endpoint, "/ @?#"):
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not the address of an S3 server", c.Endpoint).WithHint("give a host, or host:port")
	case c.Bucket == "" || strings.ContainsAny(c.Bucket, "/ "):
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not the name of a bucket", c.Bucket)
	case c.AccessKey == "" || c.SecretKey.IsZero():
		return holdfast.Errorf(holdfast.CodeInvalid, "the access key for bucket %s, or its secret, is missing", c.Bucket)
	case c.Prefix != "" && slices.ContainsFunc(strings.Split(c.Prefix, "/"), func(s string) bool { return s == "" || s == "." || s == ".." }):
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is not a path in a bucket", c.Prefix).WithHint("write it as a/b, without slashes at its ends")
	}
	_, err := c.encryption()
	return err
}

// encryption is what the server is to encrypt new objects with; nil: the bucket's
// default.
func (c Config) encryption() (encrypt.ServerSide, error) {
	kind, key, _ := strings.Cut(strings.TrimPrefix(c.Encryption, "aws:"), ":")
	switch {
	case c.Encryption == "":
		return nil, nil
	case c.Encryption == "AES256":
		return encrypt.NewSSE(), nil
	case strings.HasPrefix(c.Encryption, "aws:") && kind == "kms":
		sse, err := encrypt.NewSSEKMS(key, nil)
		if err != nil {
			return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the key %q for encryption by the server cannot be used", key)
		}
		return sse, nil
	}
	return nil, holdfast.Errorf(holdfast.CodeInvalid, "encryption %q by the server is unknown", c.Encryption).
		WithHint("use AES256, aws:kms, or aws:kms: and a key's id")
}

// transport is ours alone: its connections end with [Bucket.Close].
func (c Config) transport() (*http.Transport, error) {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		ExpectContinueTimeout: time.Second,
		MaxIdleConns:          maxIdle,
		MaxIdleConnsPerHost:   maxIdle,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // what is stored is what comes
		WriteBufferSize:       256 << 10,
		ReadBufferSize:        256 << 10,
	}
	if len(c.CA) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(c.CA) {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the certificates for %s hold none in PEM", c.Endpoint)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return t, nil
}

func (c Config) options(t http.RoundTripper) *minio.Options {
	lookup := minio.BucketLookupAuto
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	return &minio.Options{
		Creds:  credentials.NewStaticV4(c.AccessKey, c.SecretKey.Reveal(), c.SessionToken.Reveal()),
		Secure: !c.Plain, Transport: t, Region: c.Region, BucketLookup: lookup, MaxRetries: 1,
	}
}
