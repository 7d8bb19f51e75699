package worker

import (
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// finish tells the end of the order until it is heard, refused, or nobody has
// answered for too long.
func (r *run) finish(f *wire.Finish) {
	r.w.cfg.Step("finish.before")
	subject := wire.ExecutionSubject(wire.KindFinish, r.w.cfg.ID, r.order.Execution)
	log := r.w.log.With("execution", int64(r.order.Execution), "fence", uint64(r.order.Fence), "move", string(f.Move))
	failures := 0
	for wait := retryFirst; r.link.Err() == nil; wait = min(2*wait, retryMost) {
		reply, err := request[wire.Reply](r.link, r.w.line, subject, f, requestLimit)
		if err == nil {
			r.hear()
			err = reply.Failure.Err()
		}
		final := err != nil && !passing(err, &failures)
		switch {
		case err == nil:
			r.w.cfg.Step("finish.answered")
			return
		case holdfast.ErrorCode(err) == holdfast.CodeConflict && reply.Wanted >= holdfast.WantAbort && f.Move != holdfast.MoveRest:
			rest := &wire.Finish{Fence: f.Fence, Move: holdfast.MoveRest, Detail: r.kept, Progress: f.Progress}
			if r.order.Type == holdfast.JobETL {
				rest.Result = f.Result // what is committed stays so
			}
			f = rest
			continue
		case holdfast.ErrorCode(err) == holdfast.CodeConflict:
			log.WarnContext(r.link, "finish refused: the order is outdated", "error", err)
			return
		case final && f.Move != holdfast.MoveFail && holdfast.ErrorCode(err) != holdfast.CodeInternal:
			log.ErrorContext(r.link, "finish refused", "error", err)
			f = &wire.Finish{Fence: f.Fence, Move: holdfast.MoveFail, Detail: fmt.Sprintf("the control plane refused the result: %s", detailOf(err)), Progress: f.Progress}
			continue
		case final:
			log.ErrorContext(r.link, "finish refused", "error", err)
			return
		case r.alone():
			log.ErrorContext(r.link, "finish given up", "error", errAlone)
			return
		}
		log.InfoContext(r.link, "finish not answered; it is tried again", "error", err)
		select {
		case <-r.link.Done():
		case <-time.After(jitter(wait)):
		}
	}
}
