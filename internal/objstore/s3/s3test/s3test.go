// Package s3test runs a real S3 server on the loopback, for tests.
package s3test

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3"
)

// module is the server: the Versity gateway over a directory. It knows conditional
// writes, versions and object lock.
const module, moduleVersion = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"

const (
	accessKey = "HOLDFASTTEST"
	secretKey = "a secret of tests only"
	region    = "us-east-1"

	buildTimeout = 10 * time.Minute
	startTimeout = 30 * time.Second
)

// Server is a running server.
type Server struct {
	Addr string // host:port, without TLS
	Dir  string // in which a bucket is a directory, and an object a file

	t        testing.TB
	binary   string
	versions string // directory; empty: it keeps none
	users    string // directory
	secret   string
	cmd      *exec.Cmd
	last     atomic.Int64
}

// Start starts a server, which ends with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatalf("install %s: %v", module, err)
	}
	s := &Server{Addr: freeAddr(t), Dir: t.TempDir(), t: t, binary: path, versions: t.TempDir(), users: t.TempDir(), secret: secretKey}
	t.Cleanup(s.Kill)
	s.run()
	return s
}

// StartUnversioned is Start for a server that keeps no versions: what is under
// retention there cannot be deleted at all.
func StartUnversioned(t testing.TB) *Server {
	t.Helper()
	s := Start(t)
	s.Kill()
	s.versions = ""
	s.run()
	return s
}

// run starts the process, and waits until it answers.
func (s *Server) run() {
	s.t.Helper()
	args := []string{"--quiet", "--health", "/health", "--region", region, "--port", s.Addr, "--iam-dir", s.users, "posix"}
	if s.versions != "" {
		args = append(args, "--versioning-dir", s.versions)
	}
	s.cmd = exec.CommandContext(context.Background(), s.binary, append(args, s.Dir)...)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+s.secret)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for deadline := time.Now().Add(startTimeout); !s.answers(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("the S3 server at %s does not answer", s.Addr)
		}
	}
}

// Kill ends the server at once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // it was killed
}

// Restart starts a killed server again, at its address and with its objects. Its owner
// has the secret key from then on; empty: the old one.
func (s *Server) Restart(secret string) {
	s.t.Helper()
	if secret != "" {
		s.secret = secret
	}
	s.run()
}

func (s *Server) answers() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr+"/health", http.NoBody)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // nothing in it is wanted
	return res.StatusCode == http.StatusOK
}

// Config makes a bucket, and returns how it is reached.
func (s *Server) Config(t testing.TB) s3.Config {
	t.Helper()
	return s.config(t, minio.MakeBucketOptions{Region: region})
}

// LockedConfig is Config for a bucket that keeps versions, each for a day from when it
// was written: not even the owner may delete one before (compliance mode).
func (s *Server) LockedConfig(t testing.TB) s3.Config {
	t.Helper()
	c := s.config(t, minio.MakeBucketOptions{Region: region, ObjectLocking: true})
	mode, days, unit := minio.Compliance, uint(1), minio.Days
	if err := s.Client(t).SetBucketObjectLockConfig(t.Context(), c.Bucket, &mode, &days, &unit); err != nil {
		t.Fatalf("set the retention of bucket %s: %v", c.Bucket, err)
	}
	return c
}

func (s *Server) config(t testing.TB, o minio.MakeBucketOptions) s3.Config {
	t.Helper()
	name := "bucket-" + strconv.FormatInt(s.last.Add(1), 10)
	if err := s.Client(t).MakeBucket(t.Context(), name, o); err != nil {
		t.Fatalf("make bucket %s: %v", name, err)
	}
	return s3.Config{
		Endpoint: s.Addr, Plain: true, Region: region, Bucket: name, PathStyle: true, AccessKey: accessKey, SecretKey: holdfast.NewSecret(s.secret),
	}
}

// TLS opens another way to the server: with TLS, and a certificate that signs itself.
// It returns how the bucket of c is reached there.
func (s *Server) TLS(t testing.TB, c s3.Config) s3.Config {
	t.Helper()
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: s.Addr})
		r.Out.Host = r.In.Host // it is signed
	}})
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	front.StartTLS()
	t.Cleanup(front.Close)
	c.Endpoint, c.Plain = front.Listener.Addr().String(), false
	c.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})
	return c
}

// AppendOnly makes a user who may read and write the bucket of c, and delete nothing in
// it but what begins with the prefix; it returns how that user reaches the bucket.
func (s *Server) AppendOnly(t testing.TB, c s3.Config, prefix string) s3.Config {
	t.Helper()
	const user, secret = "APPENDONLY", "another secret of tests only"
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.binary, "admin", "--endpoint-url", "http://"+s.Addr, "--access", accessKey, "--secret", s.secret,
		"create-user", "--access", user, "--secret", secret, "--role", "user")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make a user: %v: %s", err, out)
	}
	policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"AWS":["%[1]s"]},"Action":["s3:ListBucket","s3:GetBucketLocation"],"Resource":["arn:aws:s3:::%[2]s"]},
		{"Effect":"Allow","Principal":{"AWS":["%[1]s"]},"Action":["s3:GetObject","s3:PutObject"],"Resource":["arn:aws:s3:::%[2]s/*"]},
		{"Effect":"Allow","Principal":{"AWS":["%[1]s"]},"Action":["s3:DeleteObject"],"Resource":["arn:aws:s3:::%[2]s/%[3]s*"]}]}`, user, c.Bucket, prefix)
	if err := s.Client(t).SetBucketPolicy(ctx, c.Bucket, policy); err != nil {
		t.Fatalf("give the user rights: %v", err)
	}
	c.AccessKey, c.SecretKey = user, holdfast.NewSecret(secret)
	return c
}

// Client is the owner's client, for what a bucket's contract has no words for.
func (s *Server) Client(t testing.TB) *minio.Client {
	t.Helper()
	c, err := minio.New(s.Addr, &minio.Options{Creds: credentials.NewStaticV4(accessKey, s.secret, ""), Region: region, BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func freeAddr(t testing.TB) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// binary installs the server once for all tests of a user: it takes a minute.
var binary = sync.OnceValues(func() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-s3test-%d-%s", os.Getuid(), moduleVersion))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "versitygw")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "install", module+"@"+moduleVersion)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})
