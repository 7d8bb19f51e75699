// Package client is how the command line speaks to a server: the native API
// over the Unix socket in the state directory, or over HTTPS with a token. An
// error of the server comes back as the [holdfast.Error] that it was, with its
// code and hint.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

const (
	dialTimeout = 10 * time.Second
	callTimeout = 150 * time.Second // longer than the server takes for its longest call, so that its answer arrives
	maxAnswer   = 64 << 20          // bytes
)

// Options say which server is meant, and who asks.
type Options struct {
	Socket  string          // path of a Unix socket; used when Server is empty
	Server  string          // URL
	Token   holdfast.Secret // needed with Server
	CA      string          // file of certificates to trust besides the system's; may be empty
	Account string          // name or alias of the account to act for over the socket; empty: the default one
	Version string          // of the caller, for the server's log
}

// Client calls a server. It may be used from several goroutines.
type Client struct {
	http    *http.Client
	base    string
	token   holdfast.Secret
	account string
	version string
	where   string // for people
	socket  bool
}

// New returns a Client; it connects with the first call.
func New(o Options) (*Client, error) {
	tr := &http.Transport{TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: callTimeout, IdleConnTimeout: time.Minute}
	dialer := &net.Dialer{Timeout: dialTimeout}
	c := &Client{
		http: &http.Client{
			Transport: tr,
			// A redirect would carry the token to a place that nobody named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		token: o.Token, account: o.Account, version: o.Version,
	}
	if o.Server == "" {
		c.base, c.where, c.socket = "http://holdfast", o.Socket, true
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", o.Socket)
		}
		return c, nil
	}
	if o.Token.IsZero() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a token is needed to speak to %s", o.Server).
			WithHint("put one into HOLDFAST_TOKEN, or its file's name into --token-file; make one with: holdfast token create")
	}
	c.base, c.where = strings.TrimSuffix(o.Server, "/"), o.Server
	tr.DialContext, tr.Proxy = dialer.DialContext, http.ProxyFromEnvironment
	if o.CA != "" {
		pool, err := trust(o.CA)
		if err != nil {
			return nil, err
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
		tr.ForceAttemptHTTP2 = true
	}
	return c, nil
}

// Local reports whether the server is the one on this machine.
func (c *Client) Local() bool { return c.socket }

func trust(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the certificates cannot be read").WithHint("name a readable PEM file with --ca")
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s holds no certificate", file).WithHint("name a PEM file with --ca")
	}
	return pool, nil
}

// request is one call.
type request struct {
	method string
	path   []string // below the root; each is escaped
	query  url.Values
	body   any
	key    string // idempotency key
	accept string
}

func get(path ...string) request { return request{method: http.MethodGet, path: path} }

func post(body any, path ...string) request {
	return request{method: http.MethodPost, path: path, body: body}
}

func del(path ...string) request { return request{method: http.MethodDelete, path: path} }

// send returns the answer of a call that went well. The caller closes its body.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	parts := []string{c.base + native.Root}
	for _, p := range r.path {
		parts = append(parts, url.PathEscape(p))
	}
	u := strings.Join(parts, "/")
	if len(r.query) > 0 {
		u += "?" + r.query.Encode()
	}
	var body io.Reader
	if r.body != nil {
		data, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, u, body)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	if r.accept != "" {
		req.Header.Set("Accept", r.accept)
	}
	if !c.token.IsZero() {
		req.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	if c.account != "" {
		req.Header.Set(native.AccountHeader, c.account)
	}
	req.Header.Set("User-Agent", "holdfast/"+c.version)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode/100 != 2 {
		defer func() { _ = resp.Body.Close() }()
		return nil, c.failure(resp)
	}
	return resp, nil
}

// call sends a request and decodes the answer.
func call[O any](ctx context.Context, c *Client, r request) (out O, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errCallTimeout)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return out, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return out, c.unreachable(ctx, err)
	}
	if resp.StatusCode == http.StatusNoContent {
		return out, nil
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, holdfast.Wrap(holdfast.CodeUnavailable, err, "%s did not answer as a Holdfast server of this version", c.where).
			WithHint("look at the address, and at the versions on both sides")
	}
	return out, nil
}

var errCallTimeout = errors.New("no answer in time")

// unreachable says why no answer came.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, context.Canceled) {
		return cause
	}
	e := holdfast.Errorf(holdfast.CodeUnavailable, "no server answers at %s: %v", c.where, innermost(err))
	switch {
	case c.socket && errors.Is(err, fs.ErrPermission):
		return holdfast.Errorf(holdfast.CodeForbidden, "this user may not use %s", c.where).
			WithHint("run the command as the user that runs holdfast serve, or use --server with a token")
	case c.socket && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
		return e.WithHint("start one with: holdfast serve; or name its state directory with --state, or another machine's with --server")
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return e.WithHint("the server's certificate is not one that this machine trusts: name it with --ca")
	}
	return e.WithHint("look at the address, and whether the server runs")
}

func innermost(err error) error {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return err
		}
		err = next
	}
}

// failure turns an answer with an error into the error that it was.
func (c *Client) failure(resp *http.Response) error {
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	var p native.Problem
	if err != nil || json.Unmarshal(data, &p) != nil || p.Code == "" {
		return holdfast.Errorf(holdfast.CodeUnavailable, "%s answered %s", c.where, resp.Status).
			WithHint("look at the address: this is not the answer of a Holdfast server")
	}
	return &holdfast.Error{Code: p.Code, Msg: p.Detail, Hint: p.Hint, Execution: p.Execution}
}
