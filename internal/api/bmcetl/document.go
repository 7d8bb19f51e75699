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
	each, err := kept.member(memberConfiguration)
	if err != nil {
		return nil, err
	}
	configuration, err := section(each, configurationKey(rc.ID))
	if err != nil {
		return nil, err
	}
	configuration["run_configuration_id"], configuration["name"], configuration["active"] = int64(rc.ID), rc.Name, rc.Active
	out[memberModule], out[memberScheduling], out[memberConfiguration] = module, scheduling, configuration
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
	keptConfiguration             object // of the run configuration
	etl                           int64  // 0: not said
	configuration                 int64  // 0: the active one
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
	if u.etl == 0 {
		u.configuration = 0 // of the ETL that it is copied from
	}
	u.keptConfiguration = without(rc, "run_configuration_id", "name", "active")
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
	delete(u.kept, name)
	return u.kept.put(name, without(section, known...))
}

// without copies an object but for some members.
func without(o object, known ...string) object {
	o = maps.Clone(o)
	for _, k := range known {
		delete(o, k)
	}
	return o
}

// put sets a member to an object, and leaves it out when that has no members.
func (o object) put(name string, section object) error {
	if len(section) == 0 {
		return nil
	}
	b, err := json.Marshal(section)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s cannot be kept", name)
	}
	o[name] = b
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
	if err := u.applyRecurrence(j.ETL, now); err != nil {
		return err
	}
	if u.properties != nil {
		values := map[string]string{}
		if err := u.properties.apply(values, rc.Properties); err != nil {
			return err
		}
		rc.Properties = values
	}
	kept, err := u.keptFor(*j, rc.ID)
	if err != nil {
		return err
	}
	b, err := json.Marshal(kept)
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

// keptFor is what the ETL keeps by now: what the configuration brings, and what the
// other run configurations have.
func (u update) keptFor(j holdfast.Job, rc holdfast.RunConfigurationID) (object, error) {
	before, err := keptOf(j)
	if err != nil {
		return nil, err
	}
	each, err := before.member(memberConfiguration)
	if err != nil {
		return nil, err
	}
	number := configurationKey(rc)
	each = without(each, number)
	if err := each.put(number, u.keptConfiguration); err != nil {
		return nil, err
	}
	kept := maps.Clone(u.kept)
	return kept, kept.put(memberConfiguration, each)
}

// configurationKey is the member under which an ETL keeps what it has of a run
// configuration.
func configurationKey(id holdfast.RunConfigurationID) string { return strconv.FormatInt(int64(id), 10) }

func (u update) applyRecurrence(spec *holdfast.ETLSpec, now time.Time) error {
	r := holdfast.Recurrence{Start: now.UTC().Truncate(time.Second)}
	if spec.Recurrence != nil {
		r = *spec.Recurrence
	}
	switch {
	case u.period != nil && *u.period == 0: // null
		spec.Recurrence = nil
		return nil
	case u.period != nil:
		r.Period = *u.period
	case spec.Recurrence == nil:
		return nil
	}
	if !u.start.IsZero() && u.start.Unix() != r.Start.Unix() {
		r.Start = u.start.UTC().Truncate(time.Second)
		if r.Start.Sub(now) > holdfast.MaxPeriod {
			return holdfast.Errorf(holdfast.CodeInvalid, "start_time %s is more than ten years ahead", r.Start.Format(time.RFC3339)).WithHint("name an earlier time")
		}
	}
	spec.Recurrence = &r
	return nil
}

// decrypt opens the values that an export has encrypted: those of secrets alone.
func (c change) decrypt(ctx context.Context, v *vault) error {
	for _, name := range slices.Sorted(maps.Keys(c.set)) {
		if !holdfast.SecretProperty(name) {
			continue
		}
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
