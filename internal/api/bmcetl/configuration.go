package bmcetl

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// export shows the configuration of an ETL, with the active run configuration or
// the one that the path names. Secrets are encrypted under a passphrase for who
// may write the configuration; without one they are masked.
func (h *handler) export(ctx context.Context, c *call) error {
	id, err := c.etl()
	if err != nil {
		return err
	}
	body, err := h.object(c, maxSmall)
	if err != nil {
		return h.ofETL(ctx, c, id, err)
	}
	v, err := h.newVault(body)
	if err != nil {
		return h.ofETL(ctx, c, id, err)
	}
	if role := c.actor.Credential.Role; v != nil && !role.Includes(holdfast.RoleAdmin) {
		return errRole(role, holdfast.RoleAdmin)
	}
	st, err := h.Service.ETLStatus(ctx, c.actor, id)
	if err != nil {
		return noETL(err)
	}
	c.concern(st.Job)
	if v != nil {
		if err := service.MayWriteETL(c.actor, st.Job); err != nil {
			return err
		}
	}
	number := holdfast.RunConfigurationID(c.id("configuration"))
	if _, named := c.path["configuration"]; named && number == 0 {
		number = -1 // of nothing
	}
	rc, err := configurationNumbered(st.Job.ETL, number)
	if err != nil {
		return err
	}
	out, err := document(ctx, st.Job, *rc, v)
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// replace takes a configuration, usually one that was exported before.
func (h *handler) replace(ctx context.Context, c *call) error {
	id, err := c.etl()
	if err != nil {
		return err
	}
	body, err := h.object(c, maxDocument)
	if err != nil {
		return h.ofETL(ctx, c, id, err)
	}
	if len(body) == 0 {
		return h.ofETL(ctx, c, id, holdfast.Errorf(holdfast.CodeInvalid, "the configuration is missing").WithHint("send the exported one with the changes"))
	}
	v, err := h.newVault(body)
	if err != nil {
		return h.ofETL(ctx, c, id, err)
	}
	u, err := readUpdate(body)
	if err == nil && u.properties != nil {
		err = u.properties.decrypt(ctx, v)
	}
	if err != nil {
		return h.ofETL(ctx, c, id, err)
	}
	return h.write(ctx, c, id, func(j *holdfast.Job) error { return u.apply(j, h.Now()) })
}

// write changes an ETL and answers without a body. What the definition names and
// nobody has is told as such.
func (h *handler) write(ctx context.Context, c *call, id holdfast.JobID, mutate func(*holdfast.Job) error) error {
	_, err := h.Service.UpdateETL(ctx, c.actor, id, mutate)
	if err == nil {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return h.ofETL(ctx, c, id, err)
}

// Properties to delete are an object whose values nobody reads, or an array.
const memberDelete = "properties_to_delete"

// readPatch reads the changes of a patch. A name that is deleted and set is set.
func readPatch(ctx context.Context, o object, v *vault) (change, error) {
	given, err := o.member(memberProperties)
	if err != nil {
		return change{}, err
	}
	c, err := readChange(memberProperties, given)
	if err != nil {
		return c, err
	}
	names, err := readNames(o)
	if err != nil {
		return c, err
	}
	c.remove = append(c.remove, names...)
	if len(c.set)+len(c.remove) == 0 {
		return c, holdfast.Errorf(holdfast.CodeInvalid, "the request changes no property").WithHint("send %s, or %s", memberProperties, memberDelete)
	}
	return c, c.decrypt(ctx, v)
}

func readNames(o object) ([]string, error) {
	b := o[memberDelete]
	if b == nil || isNull(b) {
		return nil, nil
	}
	var list []string
	if json.Unmarshal(b, &list) == nil {
		return list, nil
	}
	var named object
	if json.Unmarshal(b, &named) == nil {
		return named.names(), nil
	}
	return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s is neither an object nor an array of names", memberDelete).WithHint("send an object with the names")
}

// patch writes the change into the active run configuration of a job.
func (c change) patch(j *holdfast.Job) error {
	rc, err := configurationNumbered(j.ETL, 0)
	if err != nil {
		return err
	}
	values := maps.Clone(rc.Properties)
	if values == nil {
		values = map[string]string{}
	}
	if err := c.apply(values, rc.Properties); err != nil {
		return err
	}
	rc.Properties = values
	return nil
}

func (h *handler) patch(ctx context.Context, c *call) error {
	id, err := c.etl()
	if err != nil {
		return err
	}
	body, err := h.object(c, maxDocument)
	if err != nil {
		return h.ofETL(ctx, c, id, err)
	}
	v, err := h.newVault(body)
	if err != nil {
		return h.ofETL(ctx, c, id, err)
	}
	change, err := readPatch(ctx, body, v)
	if err != nil {
		return h.ofETL(ctx, c, id, err)
	}
	return h.write(ctx, c, id, change.patch)
}

// patched says what became of a patch of several ETLs.
type patched struct {
	Updated []int64       `json:"updated"`
	Failed  []patchFailed `json:"failed"`
}

type patchFailed struct {
	ID      int64  `json:"id"`
	Message string `json:"message"`
}

// patchAll changes the ETLs that a filter selects: all that the request says is
// checked for each of them before the first one changes.
func (h *handler) patchAll(ctx context.Context, c *call) error {
	body, err := h.object(c, maxDocument)
	if err != nil {
		return err
	}
	v, err := h.newVault(body)
	if err != nil {
		return err
	}
	given, err := body.member(filterMember)
	if err != nil {
		return err
	}
	f, err := readFilter(given)
	if err != nil {
		return err
	}
	if f.empty() && !f.all {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s is empty", filterMember).WithHint(`send {"all": true} in it to change every ETL`)
	}
	change, err := readPatch(ctx, body, v)
	if err != nil {
		return err
	}
	jobs, err := h.selected(ctx, c.actor, f)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if err := change.check(j); err != nil {
			return err
		}
	}
	out := patched{Updated: []int64{}, Failed: []patchFailed{}}
	for _, j := range jobs {
		_, err := h.Service.UpdateETL(ctx, c.actor, j.ID, change.patch)
		if err != nil {
			if f := failureOf(noETL(err)); f.Status >= http.StatusInternalServerError {
				h.Log.ErrorContext(ctx, "call failed for one of several ETLs", "request", c.w.Header().Get(requestIDHeader), "job", j.ID, "error", err)
			}
			out.Failed = append(out.Failed, patchFailed{int64(j.ID), failureOf(noETL(err)).Message})
			continue
		}
		out.Updated = append(out.Updated, int64(j.ID))
	}
	writeJSON(c.w, http.StatusOK, out)
	return nil
}

// check tries the change on a copy of the ETL.
func (c change) check(j holdfast.Job) error {
	spec := *j.ETL
	spec.Configurations = append([]holdfast.RunConfiguration{}, spec.Configurations...)
	if spec.Definition == "" {
		spec.Definition = "of the list" // which leaves definitions out
	}
	j.ETL = &spec
	err := c.patch(&j)
	if err == nil {
		err = spec.Validate()
	}
	if err != nil && holdfast.ErrorCode(err) == holdfast.CodeInvalid {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "ETL %d: %s", j.ID, holdfast.ErrorMessage(err)).WithHint("%s", holdfast.ErrorHint(err))
	}
	return err
}
