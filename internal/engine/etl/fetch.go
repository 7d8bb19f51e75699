package etl

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// Limits of a fetch.
const (
	fetchHeadLimit = 30 * time.Second // for the answer to begin
	fetchIdleLimit = time.Minute      // without a byte
	defaultFetch   = 1 << 30          // bytes of a file
	maxRedirects   = 5
)

// fetch gets the file of an extract by HTTP into the execution's directory for
// temporary files, from which its name is removed at once: the file lives as long
// as it is open.
func (f *flow) fetch(ctx context.Context, base string, in *definition.Input, known seenFiles) ([]inputFile, error) {
	address, err := url.Parse(base)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the URL of connection %s is not valid", in.Extract.Connection)
	}
	address = address.JoinPath(in.Extract.File.Path)
	shown := address.Redacted()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the URL of connection %s is not valid", in.Extract.Connection)
	}
	resp, err := fetcher().Do(req)
	if err != nil {
		if ue, ok := errors.AsType[*url.Error](err); ok { // its own text shows the URL
			err = ue.Err
		}
		if he, ok := errors.AsType[*holdfast.Error](err); ok {
			return nil, he
		}
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "%s cannot be fetched: %s", shown, err).WithHint("check that the server runs and can be reached from the worker")
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if err := fetchStatus(resp, shown); err != nil {
		return nil, err
	}
	limit := int64(in.Extract.File.MaxSize)
	if limit == 0 {
		limit = defaultFetch
	}
	tooBig := holdfast.Errorf(holdfast.CodeInvalid, "%s is larger than %d bytes", shown, limit).WithHint("raise max_size of the file, if that is as it should be")
	if resp.ContentLength > limit {
		return nil, tooBig
	}
	modified, _ := http.ParseTime(resp.Header.Get("Last-Modified")) // zero: the server does not say
	seen := seenFile{Path: in.Extract.File.Path, Size: resp.ContentLength, MTime: modified.UTC()}
	if in.Extract.Incremental != nil && modified.IsZero() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s comes without a time of its last change: nothing tells whether it was loaded before", shown).
			WithHint("let the server send Last-Modified, or read the file without incremental with mode replace, upsert or merge")
	}
	if known.has(seen) {
		return nil, nil
	}
	file, err := f.e.tempFile()
	if err != nil {
		return nil, err
	}
	idle := time.AfterFunc(fetchIdleLimit, func() { cancel(errors.New("the server has stopped sending")) })
	defer idle.Stop()
	body := &idleReader{r: io.LimitReader(resp.Body, limit+1), reset: func() { idle.Reset(fetchIdleLimit) }}
	n, err := io.Copy(file, body)
	switch {
	case err != nil && isFull(err):
		err = fileError(err, filepath.Dir(file.Name()))
	case err != nil:
		err = holdfast.Wrap(holdfast.CodeUnavailable, err, "%s was cut off after %d bytes", shown, n)
	case n > limit:
		err = tooBig
	default:
		_, err = file.Seek(0, io.SeekStart)
	}
	fetched := inputFile{name: in.Extract.File.Path, file: file, seen: seen, temporary: true}
	if err != nil {
		closeFiles([]inputFile{fetched})
		return nil, err
	}
	fetched.seen.Size = n
	if known.has(fetched.seen) { // the server has not said its size before
		closeFiles([]inputFile{fetched})
		return nil, nil
	}
	return []inputFile{fetched}, nil
}

// fetcher is a client that keeps nothing between two fetches, follows redirects on
// the same host only, and sends no secrets along.
func fetcher() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: fetchHeadLimit}).DialContext,
			TLSHandshakeTimeout: fetchHeadLimit, ResponseHeaderTimeout: fetchHeadLimit, DisableKeepAlives: true,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			switch {
			case req.URL.Host != via[0].URL.Host || via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
				return holdfast.Errorf(holdfast.CodeInvalid, "%s redirects to another host, %s", via[0].URL.Redacted(), req.URL.Host).
					WithHint("let the connection name that host")
			case len(via) > maxRedirects:
				return holdfast.Errorf(holdfast.CodeInvalid, "%s redirects more than %d times", via[0].URL.Redacted(), maxRedirects)
			}
			return nil
		},
	}
}

// fetchStatus reads the answer's status.
func fetchStatus(resp *http.Response, shown string) error {
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= http.StatusInternalServerError:
		return holdfast.Errorf(holdfast.CodeUnavailable, "%s answers %s", shown, resp.Status)
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "%s answers %s", shown, resp.Status).WithHint("check the connection's URL and the file's path")
}

// idleReader tells of each read that brought something.
type idleReader struct {
	r     io.Reader
	reset func()
}

func (i *idleReader) Read(b []byte) (int, error) {
	n, err := i.r.Read(b)
	if n > 0 {
		i.reset()
	}
	return n, err
}

// What a simulation writes is removed when it is closed; that of a process that was
// killed, by a later one after this time, and so is what earlier releases fetched.
const (
	fetchPrefix     = "holdfast-etl-fetch-"
	simulatedPrefix = "holdfast-etl-simulated-"
	tempStays       = 48 * time.Hour
)

// sweepTemp removes what was left in the directory for temporary files.
func sweepTemp(dir, prefix string) {
	old, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
	if err != nil {
		return // a directory with special characters has no sweep
	}
	for _, name := range old {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > tempStays {
			_ = os.RemoveAll(name) // somebody else may have done it
		}
	}
}

// tempFile makes a file for what is fetched, or rejected. It has no name: nobody finds
// it, and it lives as long as it is open.
func (e *execution) tempFile() (*os.File, error) {
	dir := e.p.temp()
	sweepTemp(dir, fetchPrefix)
	file, err := os.CreateTemp(dir, fetchPrefix)
	if err != nil {
		return nil, fileError(err, dir)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(fileError(err, dir), file.Close())
	}
	return file, nil
}

// temp is the directory for temporary files. It is made when it is not there.
func (p *Pipeline) temp() string {
	if p.tempDir == "" {
		return os.TempDir()
	}
	_ = os.MkdirAll(p.tempDir, 0o700) // who puts a file there finds what is wrong
	return p.tempDir
}
