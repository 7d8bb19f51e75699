package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// figures is how long the requests of one read took.
type figures struct {
	read          read
	n             int
	p50, p99, max time.Duration
	cpu           time.Duration // of the server for each
	bytes         int64         // of an answer, on average
}

// over reports whether the read is slower than it may be.
func (f figures) over() bool { return f.p99 > limit }

// limit is what 99 of 100 requests may take.
const limit = 20 * time.Millisecond

// load is how a read is measured.
type load struct {
	connections int
	pause       time.Duration // between an answer and the next request, on average
	warmUp, run time.Duration // at least one request each
	seed        uint64
}

// measure sends one read from all connections.
func (l load) measure(ctx context.Context, w *world, p *process, rd read) (figures, error) {
	if _, err := l.send(ctx, w, rd, l.warmUp); err != nil {
		return figures{}, err
	}
	before, err := p.cpu()
	if err != nil {
		return figures{}, err
	}
	answers, err := l.send(ctx, w, rd, l.run)
	if err != nil {
		return figures{}, err
	}
	after, err := p.cpu()
	if err != nil {
		return figures{}, err
	}
	f := figures{read: rd, n: len(answers), cpu: (after - before) / time.Duration(len(answers))}
	slices.SortFunc(answers, func(a, b answer) int { return int(a.took - b.took) })
	f.p50, f.p99, f.max = answers[f.n/2].took, answers[f.n*99/100].took, answers[f.n-1].took
	for _, a := range answers {
		f.bytes += a.bytes
	}
	f.bytes /= int64(f.n)
	return f, nil
}

// answer is how long one request took, to the last byte, and how many they were.
type answer struct {
	took  time.Duration
	bytes int64
}

func (l load) send(ctx context.Context, w *world, rd read, d time.Duration) ([]answer, error) {
	ctx, cancel := context.WithTimeout(ctx, d+time.Minute)
	defer cancel()
	all := make([][]answer, l.connections)
	errs := make([]error, l.connections)
	end := time.Now().Add(d)
	var wg sync.WaitGroup
	for i := range l.connections {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(l.seed, uint64(i)))
			client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext, MaxIdleConnsPerHost: 1, DisableCompression: true}}
			defer client.CloseIdleConnections()
			for len(all[i]) == 0 || time.Now().Before(end) {
				a, err := send(ctx, client, w, rd.make(w, rng))
				if err != nil {
					errs[i] = fmt.Errorf("%s: %s: %w", rd.api, rd.name, err)
					return
				}
				all[i] = append(all[i], a)
				time.Sleep(time.Duration(rng.Float64() * 2 * float64(l.pause)))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return slices.Concat(all...), nil
}

func send(ctx context.Context, client *http.Client, w *world, r request) (answer, error) {
	req, err := r.http(ctx, w.url)
	if err != nil {
		return answer{}, err
	}
	begin := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return answer{}, fmt.Errorf("%s %s: %s: %s", req.Method, r.path, resp.Status, text)
	}
	body, err := io.ReadAll(resp.Body)
	a := answer{took: time.Since(begin), bytes: int64(len(body))}
	if err == nil && bytes.Contains(body, []byte("errLogMessage")) { // Commvault's errors are 200
		err = fmt.Errorf("%s %s: %.500s", req.Method, r.path, body)
	}
	return a, err
}
