package bmcetl

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// annotation is the key of [holdfast.Job.Annotations] under which a configuration
// keeps what nobody here reads.
const annotation = "bmc"

// The members of a configuration that mean something here. Whatever else it has,
// it keeps.
const (
	memberETL           = "etl_id"
	memberName          = "name"
	memberDescription   = "description"
	memberModule        = "etl"               // with module_name, type, definition
	memberScheduling    = "scheduling"        // with scheduler_id, period_sec, start_time
	memberConfiguration = "run_configuration" // with run_configuration_id, name, active
	memberProperties    = "properties"
	memberPassphrase    = "encryption_passphrase"
)

// What a configuration has when nobody has given it something else.
const (
	defaultModule    = "holdfast.etl"
	defaultScheduler = 1
)

// document is the exported configuration of an ETL with one of its run
// configurations. Its secrets are masked, or encrypted by v.
func document(ctx context.Context, j holdfast.Job, rc holdfast.RunConfiguration, v *vault) (map[string]any, error) {
	kept, err := keptOf(j)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for name, value := range kept {
		out[name] = value
	}
	module, err := section(kept, memberModule)
	if err != nil {
		return nil, err
	}
	if module["module_name"] == nil {
		module["module_name"] = defaultModule
	}
	module["type"], module["definition"] = typeName(j.ETL.Service), j.ETL.Definition
	scheduling, err := section(kept, memberScheduling)
	if err != nil {
		return nil, err
	}
	if scheduling["scheduler_id"] == nil {
		scheduling["scheduler_id"] = defaultScheduler
	}
	scheduling["period_sec"], scheduling["start_time"] = nil, nil
	if r := j.ETL.Recurrence; r != nil {
		scheduling["period_sec"], scheduling["start_time"] = int64(r.Period/time.Second), timestamp(r.Start)
	}
	values := map[string]string{}
	for name, value := range rc.Properties {
		switch {
		case !holdfast.SecretProperty(name):
		case v == nil:
			value = holdfast.MaskedProperty
		default:
			if value, err = v.seal(ctx, name, value); err != nil {
				return nil, err
			}
		}
		values[name] = value
	}
	out[memberETL], out[memberName], out[memberDescription] = int64(j.ID), j.Name, j.Description
	out[memberModule], out[memberScheduling], out[memberConfiguration] = module, scheduling, configurationOf(rc)
	out[memberProperties] = values
	return out, nil
}

// keptOf returns what the ETL keeps for this dialect.
func keptOf(j holdfast.Job) (object, error) {
	o := object{}
	if b := j.Annotations[annotation]; b != nil {
		if err := json.Unmarshal(b, &o); err != nil {
			return nil, holdfast.Wrap(holdfast.CodeInternal, err, "what ETL %d keeps is damaged", j.ID)
		}
	}
	return o, nil
}

// section returns a copy of a member that is an object, to be filled.
func section(o object, name string) (map[string]any, error) {
	in, err := o.member(name)
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	for k, v := range in {
		out[k] = v
	}
	return out, nil
}

// update is a configuration that a request brings. What it does not bring stays.
type update struct {
	name, description, definition *string
	properties                    *change // replaces all properties
	period                        *time.Duration
	start                         time.Time
	kept                          object
	etl                           int64 // 0: not said
	configuration                 int64 // 0: the active one
}

// readUpdate reads a configuration.
func readUpdate(o object) (update, error) {
	u := update{kept: maps.Clone(o)}
	for _, name := range []string{memberETL, memberName, memberDescription, memberProperties, memberPassphrase, memberConfiguration} {
		delete(u.kept, name)
	}
	for name, at := range map[string]**string{memberName: &u.name, memberDescription: &u.description} {
		if err := readText(o, name, at); err != nil {
			return u, err
		}
	}
	var err error
	if u.etl, err = readID(o, memberETL); err != nil {
		return u, err
	}
	rc, err := o.member(memberConfiguration)
	if err != nil {
		return u, err
	}
	if u.configuration, err = readID(rc, "run_configuration_id"); err != nil {
		return u, err
	}
	if err := u.readModule(o); err != nil {
		return u, err
	}
	if err := u.readScheduling(o); err != nil {
		return u, err
	}
	if o[memberProperties] == nil || isNull(o[memberProperties]) {
		return u, nil
	}
	given, err := o.member(memberProperties)
	if err != nil {
		return u, err
	}
	c, err := readChange(memberProperties, given)
	u.properties = &c
	return u, err
}

func (u *update) readModule(o object) error {
	module, err := o.member(memberModule)
	if err != nil {
		return err
	}
	if err := readText(module, "definition", &u.definition); err != nil {
		return err
	}
	return u.keep(memberModule, module, "definition", "type")
}

func (u *update) readScheduling(o object) error {
	scheduling, err := o.member(memberScheduling)
	if err != nil {
		return err
	}
	if u.start, err = readTime(scheduling, "start_time"); err != nil {
		return err
	}
	if scheduling["period_sec"] != nil {
		period, err := readPeriod(scheduling, "period_sec")
		if err != nil {
			return err
		}
		u.period = &period
	}
	return u.keep(memberScheduling, scheduling, "period_sec", "start_time")
}

// keep keeps what a section has besides the members that are read.
func (u *update) keep(name string, section object, known ...string) error {
	section = maps.Clone(section)
	for _, k := range known {
		delete(section, k)
	}
	delete(u.kept, name)
	if len(section) == 0 {
		return nil
	}
	b, err := json.Marshal(section)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s cannot be kept", name)
	}
	u.kept[name] = b
	return nil
}

func readText(o object, name string, at **string) error {
	if o[name] == nil || isNull(o[name]) {
		return nil
	}
	text, err := o.text(name, false)
	*at = &text
	return err
}

func readID(o object, name string) (int64, error) {
	text, err := o.text(name, false)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "%s %s is not a number of anything", name, clip(text)).WithHint("leave it out, or give the number that the export has")
	}
	return n, nil
}

// apply writes the configuration into the job. Stored secrets stay where it
// brings the mask.
func (u update) apply(j *holdfast.Job, now time.Time) error {
	if u.etl != 0 && u.etl != int64(j.ID) {
		return holdfast.Errorf(holdfast.CodeInvalid, "the configuration is that of ETL %d", u.etl).WithHint("leave %s out to copy it to ETL %d", memberETL, j.ID)
	}
	rc, err := configurationNumbered(j.ETL, holdfast.RunConfigurationID(u.configuration))
	if err != nil {
		return err
	}
	if u.name != nil {
		j.Name = strings.TrimSpace(*u.name)
	}
	if u.description != nil {
		j.Description = *u.description
	}
	if u.definition != nil {
		j.ETL.Definition = *u.definition
	}
	u.applyRecurrence(j.ETL, now)
	if u.properties != nil {
		values := map[string]string{}
		if err := u.properties.apply(values, rc.Properties); err != nil {
			return err
		}
		rc.Properties = values
	}
	b, err := json.Marshal(u.kept)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the configuration cannot be kept")
	}
	j.Annotations = maps.Clone(j.Annotations)
	if j.Annotations == nil {
		j.Annotations = map[string]json.RawMessage{}
	}
	j.Annotations[annotation] = b
	return nil
}

func (u update) applyRecurrence(spec *holdfast.ETLSpec, now time.Time) {
	r := holdfast.Recurrence{Start: now.UTC().Truncate(time.Second)}
	if spec.Recurrence != nil {
		r = *spec.Recurrence
	}
	switch {
	case u.period != nil && *u.period == 0: // null
		spec.Recurrence = nil
		return
	case u.period != nil:
		r.Period = *u.period
	case spec.Recurrence == nil:
		return
	}
	if !u.start.IsZero() {
		r.Start = u.start.UTC()
	}
	spec.Recurrence = &r
}

// decrypt opens the values that an export has encrypted.
func (c change) decrypt(ctx context.Context, v *vault) error {
	for _, name := range slices.Sorted(maps.Keys(c.set)) {
		plain, err := v.open(ctx, name, c.set[name])
		if err != nil {
			return err
		}
		c.set[name] = plain
	}
	return nil
}

// apply writes the change into values. stored are the values so far.
func (c change) apply(values, stored map[string]string) error {
	for _, name := range c.remove {
		delete(values, name)
	}
	for _, name := range slices.Sorted(maps.Keys(c.set)) {
		value := c.set[name]
		if value == holdfast.MaskedProperty && holdfast.SecretProperty(name) {
			old, ok := stored[name]
			if !ok {
				return holdfast.Errorf(holdfast.CodeInvalid, "the property %q is masked, and no secret is stored under this name", clip(name)).
					WithHint("give the secret itself, or leave the property out")
			}
			values[name] = old
			continue
		}
		values[name] = value
	}
	return nil
}

// configurationNumbered returns a run configuration of the ETL, to be changed; 0
// is the active one, or the first when none is active.
func configurationNumbered(spec *holdfast.ETLSpec, id holdfast.RunConfigurationID) (*holdfast.RunConfiguration, error) {
	if id == 0 {
		if rc := spec.Active(); rc != nil {
			return rc, nil
		}
		if len(spec.Configurations) > 0 {
			return &spec.Configurations[0], nil
		}
	}
	for i := range spec.Configurations {
		if id != 0 && spec.Configurations[i].ID == id {
			return &spec.Configurations[i], nil
		}
	}
	return nil, holdfast.Errorf(holdfast.CodeInvalid, "run configuration not found").WithHint("GET %s/etls lists those of each ETL", backend)
}
