package baas

import (
	"context"
	"net/http"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// schedules lists the schedules of a job.
func (h *handler) schedules(ctx context.Context, c *Call) error {
	_, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	q, err := c.Query()
	if err != nil {
		return err
	}
	page, err := q.Page(false)
	if err != nil {
		return err
	}
	all, err := h.Service.Schedules(ctx, c.Actor, j.ID)
	if err != nil {
		return err
	}
	list := []Schedule{}
	from := min(page.Store().Offset, len(all))
	for _, s := range all[from:min(from+page.Size, len(all))] {
		list = append(list, scheduleOf(s))
	}
	writeList(c.w, page, len(all), list)
	return nil
}

// createSchedule makes a schedule of a job. One that meets another is made all
// the same: the preview warns.
func (h *handler) createSchedule(ctx context.Context, c *Call) error {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	in, err := inputSchedule(c)
	if err != nil {
		return err
	}
	in.Job = j.ID
	s, err := h.Service.CreateSchedule(ctx, c.Actor, in)
	if err != nil {
		return err
	}
	c.w.Header().Set(ResourceHeader, ID(s.ID))
	c.w.Header().Set("Location", h.jobPath(c, site, j.ID)+"/schedules/"+ID(s.ID))
	writeJSON(c.w, http.StatusCreated, scheduleOf(s))
	return nil
}

func inputSchedule(c *Call) (holdfast.Schedule, error) {
	tree, err := c.Body()
	if err != nil {
		return holdfast.Schedule{}, err
	}
	return readSchedule(tree)
}

// findSchedule returns the job and the number of the schedule that the path
// names.
func (h *handler) findSchedule(ctx context.Context, c *Call) (service.JobView, holdfast.ScheduleID, error) {
	_, j, err := h.find(ctx, c)
	if err != nil {
		return j, 0, err
	}
	id, err := number("schedule", c.Path["schedule"])
	return j, holdfast.ScheduleID(id), err
}

// missingSchedule gives the service's CodeNotFound the words of this dialect.
func missingSchedule(c *Call, err error) error {
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return Unknown("schedule", c.Path["schedule"])
	}
	return err
}

// schedule returns one schedule.
func (h *handler) schedule(ctx context.Context, c *Call) error {
	j, id, err := h.findSchedule(ctx, c)
	if err != nil {
		return err
	}
	s, err := h.Service.Schedule(ctx, c.Actor, j.ID, id)
	if err != nil {
		return missingSchedule(c, err)
	}
	writeJSON(c.w, http.StatusOK, scheduleOf(s))
	return nil
}

// replaceSchedule makes a schedule what the request describes.
func (h *handler) replaceSchedule(ctx context.Context, c *Call) error {
	j, id, err := h.findSchedule(ctx, c)
	if err != nil {
		return err
	}
	in, err := inputSchedule(c)
	if err != nil {
		return err
	}
	s, err := h.Service.UpdateSchedule(ctx, c.Actor, j.ID, id, func(s *holdfast.Schedule) error {
		s.Expression, s.TimeZone, s.RunType, s.Active = in.Expression, in.TimeZone, in.RunType, in.Active
		return nil
	})
	if err != nil {
		return missingSchedule(c, err)
	}
	writeJSON(c.w, http.StatusOK, scheduleOf(s))
	return nil
}

// deleteSchedule deletes a schedule; what it made stays.
func (h *handler) deleteSchedule(ctx context.Context, c *Call) error {
	j, id, err := h.findSchedule(ctx, c)
	if err != nil {
		return err
	}
	if err := h.Service.DeleteSchedule(ctx, c.Actor, j.ID, id); err != nil {
		return missingSchedule(c, err)
	}
	h.writeDeleted(c)
	return nil
}

// previewSchedule tells what a schedule would do, without making it. One that
// names a schedule_id stands in its place.
func (h *handler) previewSchedule(ctx context.Context, c *Call) error {
	_, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	n, err := limit(c)
	if err != nil {
		return err
	}
	in, err := inputSchedule(c)
	if err != nil {
		return err
	}
	r := reader{}
	tree, err := c.Body()
	if err != nil {
		return err
	}
	if id := r.idOf(r.object("", map[string]any(tree)), "schedule_id"); id != "" && r.err == nil {
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return Unknown("schedule", id)
		}
		in.ID = holdfast.ScheduleID(n)
	}
	if r.err != nil {
		return r.err
	}
	in.Job = j.ID
	p, err := h.Service.PreviewSchedule(ctx, c.Actor, in, n)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		err = Unknown("schedule", ID(in.ID))
	}
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, previewOf(p, in))
	return nil
}

// nextRuns lists the next runs of a job, of all its schedules together.
func (h *handler) nextRuns(ctx context.Context, c *Call) error {
	_, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	n, err := limit(c)
	if err != nil {
		return err
	}
	runs, err := h.Service.NextRuns(ctx, c.Actor, j.ID, n)
	if err != nil {
		return err
	}
	list := make([]NextRun, len(runs))
	for i, r := range runs {
		list[i] = NextRun{At: stamp(r.At), Schedule: int64(r.Schedule), RunType: string(r.RunType)}
	}
	writeJSON(c.w, http.StatusOK, list)
	return nil
}

// maxLimit keeps a limit an int; the service says how many runs it shows.
const maxLimit = 1 << 30

// limit reads how many runs are asked for; 0: as many as the service shows.
func limit(c *Call) (int, error) {
	q, err := c.Query()
	if err != nil {
		return 0, err
	}
	n, _, err := q.count("limit")
	return int(min(n, maxLimit)), err
}
