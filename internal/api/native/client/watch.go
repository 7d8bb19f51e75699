package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

const (
	silence     = 45 * time.Second // three missed heartbeats
	reconnects  = 60               // in a row, before a watch fails
	reconnectIn = 2 * time.Second
	maxEvent    = 4 << 20 // bytes
)

var errSilence = errors.New("the stream fell silent")

// Watch calls fn with the execution whenever it has changed, until it has ended,
// and returns it as it then is. A broken stream is opened again: a server that
// restarts does not end a watch. broken is called when that begins, with the time that
// it is tried for.
func (c *Client) Watch(ctx context.Context, e holdfast.ExecutionID, fn func(native.Execution), broken func(time.Duration)) (native.Execution, error) {
	for tries := 0; ; tries++ {
		last, seen, err := c.watch(ctx, e, fn)
		if err == nil {
			return last, nil
		}
		if seen {
			tries = 0
		}
		if ctx.Err() != nil {
			return last, context.Cause(ctx)
		}
		if holdfast.ErrorCode(err) != holdfast.CodeUnavailable || tries >= reconnects {
			return last, err
		}
		if tries == 0 {
			broken(reconnects * reconnectIn)
		}
		select {
		case <-ctx.Done():
			return last, context.Cause(ctx)
		case <-time.After(reconnectIn):
		}
	}
}

// watch reads one stream; seen is true when it brought at least one event.
func (c *Client) watch(ctx context.Context, e holdfast.ExecutionID, fn func(native.Execution)) (last native.Execution, seen bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errSilence) })
	defer quiet.Stop()
	r := get("executions", id(e), "events")
	r.accept = "text/event-stream"
	resp, err := c.send(ctx, r)
	if err != nil {
		return last, false, err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	name := ""
	for lines.Scan() {
		quiet.Reset(silence)
		key, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch key {
		case "event":
			name = value
		case "data":
			last = native.Execution{} // what an event leaves out is empty now
			if err := json.Unmarshal([]byte(value), &last); err != nil {
				return last, seen, fmt.Errorf("decode an event: %w", err)
			}
			seen = true
			fn(last)
		}
		if name == "ended" && key == "data" {
			return last, true, nil
		}
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return last, seen, holdfast.Wrap(holdfast.CodeUnavailable, err, "the connection to %s broke", c.where)
}
