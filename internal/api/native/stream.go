package native

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/execlog"
)

const (
	minPoll       = 20 * time.Millisecond  // between two looks at an execution that is watched
	maxPoll       = 250 * time.Millisecond // the same, of one that takes its time
	heartbeat     = 15 * time.Second       // a comment that keeps proxies from closing the stream
	writeTimeout  = 10 * time.Second       // for a watcher that does not read
	eventProgress = "progress"             // the execution has changed
	eventEnded    = "ended"                // it has ended: the last event
	maxLog        = 1 << 20                // bytes of a log in one answer
)

// LinesType is the media type of a log in JSON lines.
const LinesType = "application/x-ndjson"

type logInput struct {
	ExecutionPath
	Offset int64 `query:"offset" minimum:"0" doc:"In bytes"`
	Limit  int   `query:"limit" minimum:"1" maximum:"1048576" default:"1048576" doc:"In bytes"`

	Accept string `header:"Accept" doc:"application/x-ndjson: the lines as they are stored, in JSON; otherwise whole lines as text"`
}

type logOutput struct {
	Size        int64  `header:"Log-Size" doc:"Bytes of the log so far"`
	Next        int64  `header:"Log-Next" doc:"The offset from which it goes on"`
	ContentType string `header:"Content-Type"`
	Body        []byte
}

func (a *api) registerStreams() {
	register(a, operation{
		id: "get-execution-log", method: http.MethodGet, path: "/executions/{execution}/log", tag: "executions",
		summary: "Read the log of an execution from an offset, as text or in JSON lines",
	}, func(ctx context.Context, actor holdfast.Actor, in *logInput) (*logOutput, error) {
		data, size, err := a.Service.Log(ctx, actor, in.Execution, in.Offset, min(in.Limit, maxLog))
		if err != nil {
			return nil, err
		}
		if strings.Contains(in.Accept, LinesType) {
			return &logOutput{Size: size, Next: in.Offset + int64(len(data)), ContentType: LinesType, Body: data}, nil
		}
		if end := bytes.LastIndexByte(data, '\n'); end >= 0 {
			data = data[:end+1] // a line that is cut is shown when it is whole
		}
		return &logOutput{
			Size: size, Next: in.Offset + int64(len(data)), ContentType: "text/plain; charset=utf-8", Body: execlog.Text(data),
		}, nil
	})

	op := operation{
		id: "watch-execution", method: http.MethodGet, path: "/executions/{execution}/events", tag: "executions",
		summary: "Watch an execution until it has ended (server-sent events)",
	}.huma()
	op.Responses = map[string]*huma.Response{"200": {
		Description: `Events "progress", each with the execution as it is, and "ended" at last`,
		Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}}
	huma.Register(a.huma, op, func(ctx context.Context, in *ExecutionPath) (*huma.StreamResponse, error) {
		e, err := a.Service.Execution(ctx, actorOf(ctx), in.Execution)
		if err != nil {
			return nil, a.problem(ctx, "watch-execution", err)
		}
		n, err := a.names(ctx, actorOf(ctx))
		if err != nil {
			return nil, a.problem(ctx, "watch-execution", err)
		}
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			hc.SetHeader("Content-Type", "text/event-stream")
			hc.SetHeader("Cache-Control", "no-store")
			hc.SetHeader("X-Accel-Buffering", "no")
			r, w := humago.Unwrap(hc)
			s := stream{w: w, rc: http.NewResponseController(w), now: a.Now}
			if err := a.watch(r, s, n, e); err != nil {
				a.Log.DebugContext(ctx, "watching an execution ended early", "execution", e.ID, "error", err)
			}
		}}, nil
	})
}

// stream writes server-sent events.
type stream struct {
	w   io.Writer
	rc  *http.ResponseController
	now func() time.Time
}

func (s stream) write(b []byte) error {
	if err := s.rc.SetWriteDeadline(s.now().Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.rc.Flush()
}

func (s stream) event(name string, id int, data []byte) error {
	return s.write(fmt.Appendf(nil, "id: %d\nevent: %s\ndata: %s\n\n", id, name, data))
}

// pollAfter returns when to look again at what has been watched for so long: a watcher
// hears of the end within a fiftieth of the time that it has waited.
func pollAfter(watched time.Duration) time.Duration {
	return min(max(watched/50, minPoll), maxPoll)
}

// watch sends the execution whenever it differs from what was sent before. It
// looks at the caller's credential again with each heartbeat: a revoked token
// ends the stream.
func (a *api) watch(r *http.Request, s stream, n names, e holdfast.Execution) error {
	ctx := r.Context()
	actor := actorOf(ctx)
	begun := s.now()
	poll := time.NewTimer(minPoll)
	defer poll.Stop()
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	sent := ""
	for id := 1; ; id++ {
		data, err := json.Marshal(n.execution(e))
		if err != nil {
			return err
		}
		if e.State == holdfast.StateEnded {
			return s.event(eventEnded, id, data)
		}
		if string(data) != sent {
			if err := s.event(eventProgress, id, data); err != nil {
				return err
			}
			sent = string(data)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-beat.C:
			if actor, err = a.actor(ctx, r.Header); err != nil {
				return err
			}
			if err := s.write([]byte(": still here\n\n")); err != nil {
				return err
			}
		case <-poll.C:
			poll.Reset(pollAfter(s.now().Sub(begun)))
		}
		if e, err = a.Service.Execution(ctx, actor, e.ID); err != nil {
			return err
		}
	}
}
