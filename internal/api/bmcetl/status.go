package bmcetl

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// stopLimit is how long a stop may take before the status says that it is overdue.
// It does not turn into a kill by itself.
const stopLimit = 5 * time.Minute

// taskStatus is what the status call answers. The first four members are always
// there.
type taskStatus struct {
	Status    *string `json:"status"`
	Task      int64   `json:"task_id"`
	Exit      *string `json:"exit_code"`
	Started   *string `json:"last_exec_ts"` // of the last execution that started
	Ended     *string `json:"last_end_ts"`
	Next      *string `json:"next_exec_ts"`
	Execution int64   `json:"task_execution_request_id"`                // current, else last; 0: there was none
	Planned   int64   `json:"next_task_execution_request_id,omitempty"` // due at Next
	Overdue   bool    `json:"stop_overdue,omitempty"`
}

func (h *handler) status(ctx context.Context, c *call) error {
	id, err := c.etl()
	if err != nil {
		return err
	}
	st, err := h.Service.ETLStatus(ctx, c.actor, id)
	if err != nil {
		return noETL(err)
	}
	writeJSON(c.w, http.StatusOK, statusOfTask(st, h.Now()))
	return nil
}

// statusOfTask says how an ETL is doing at now.
func statusOfTask(st service.ETLStatus, now time.Time) taskStatus {
	out := taskStatus{Status: wordOrNull(taskWord(st)), Task: int64(st.Job.ID)}
	if st.Finished != nil {
		out.Ended = timestamp(st.Finished.Ended)
		if !st.Job.ETL.Service {
			out.Exit = wordOrNull(exitWord(st.Finished.Outcome))
		}
	}
	if st.LastStarted != nil {
		out.Started = timestamp(st.LastStarted.Started)
	}
	if st.Planned != nil {
		out.Next = timestamp(st.Planned.Due)
		if !st.Job.ETL.Service {
			out.Planned = int64(st.Planned.ID)
		}
	}
	switch {
	case st.Job.ETL.Service:
		out.Execution = ofService
	case st.Current != nil:
		out.Execution = int64(st.Current.ID)
	case st.Finished != nil: // the exit code is that one's
		out.Execution = int64(st.Finished.ID)
	case st.Last != nil:
		out.Execution = int64(st.Last.ID)
	}
	if e := st.Current; e != nil && e.State == holdfast.StateRunning && e.Wanted == holdfast.WantStop {
		out.Overdue = now.Sub(e.WantedAt) > stopLimit
	}
	return out
}
