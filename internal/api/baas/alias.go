package baas

import (
	"reflect"

	"github.com/holdfast-backup/holdfast"
)

// alias is another spelling of a key: the console's GraphQL name, or the one
// that a reader of the documents would expect.
type alias struct {
	from   string
	to     []string // path of the key that it stands for
	invert bool     // a flag that means the opposite
}

const (
	settingsKey = "job_settings"
	targetKey   = "targetSiteDetails"
	objectsKey  = "objects"
	excludeKey  = "exclude_objects"
	continueKey = "continue_job_on_access_right_violation"
	copyKey     = "run_as_a_copy_job"
	databaseKey = "restore_to_a_different_database_on_target_site"
	statsKey    = "skip_statstics"
	indexesKey  = "skip_join_or_hash_indexes"
	retainedKey = "retained_copy"

	retainedFlag = "is_saveset_retained" // of a request to protect

	// Of a request to restore.
	targetSiteKey  = "target_site"
	directoryKey   = "target_directory"
	hostKey        = "target_host"
	tablespacesKey = "tablespaces"
)

// Source: "Management Console GraphQL API", createInput and restore settings.
func jobAliases() []alias {
	all := []alias{
		{from: "jobSettings", to: []string{settingsKey}},
		{from: "target_site_details", to: []string{targetKey}},
		{from: "active", to: []string{"is_active"}},
		{from: "isActive", to: []string{"is_active"}},
		{from: "jobType", to: []string{"job_type"}},
		{from: "backupType", to: []string{"backup_type"}},
		{from: "backupMechanism", to: []string{"backup_mechanism"}},
		{from: "retainedCopiesCount", to: []string{"no_of_retention_copies"}},
		{from: "noOfRetentionCopies", to: []string{"no_of_retention_copies"}},
		{from: "autoAbort", to: []string{"is_auto_abort_active"}},
		{from: "isAutoAbortActive", to: []string{"is_auto_abort_active"}},
		{from: "autoAbortInMinutes", to: []string{"auto_abort_in_minutes"}},
		{from: "targetSite", to: []string{targetKey, "target_site_id"}},
		{from: "targetRetentionCopiesCount", to: []string{targetKey, "target_retention_copies_count"}},
		{from: objectsKey, to: []string{settingsKey, objectsKey}},
	}
	for _, a := range settingsAliases() {
		all = append(all, alias{a.from, append([]string{settingsKey}, a.to...), a.invert})
	}
	return all
}

// restoreAliases are those of a request to restore: it is flat in the console's
// API.
func restoreAliases() []alias {
	all := []alias{
		{from: "jobSettings", to: []string{settingsKey}},
		{from: "targetSite", to: []string{targetSiteKey}},
		{from: "targetDirectory", to: []string{directoryKey}},
		{from: "targetHost", to: []string{hostKey}},
		{from: objectsKey, to: []string{settingsKey, objectsKey}},
		{from: retainedKey, to: []string{settingsKey, retainedKey}},
	}
	for _, a := range settingsAliases() {
		all = append(all, alias{a.from, append([]string{settingsKey}, a.to...), a.invert})
	}
	return all
}

// Source: "Management Console GraphQL API", scheduleInput.
func scheduleAliases() []alias {
	return []alias{
		{from: "scheduleExpression", to: []string{"schedule_expression"}},
		{from: "runType", to: []string{"run_type"}},
		{from: "timeZone", to: []string{"time_zone"}},
		{from: "active", to: []string{"is_active"}},
		{from: "isActive", to: []string{"is_active"}},
		{from: "scheduleId", to: []string{"schedule_id"}},
	}
}

func settingsAliases() []alias {
	return []alias{
		{from: "abortOnAccessRightsViolation", to: []string{continueKey}, invert: true},
		{from: "runAsCopyJob", to: []string{copyKey}},
		{from: "targetDatabase", to: []string{databaseKey}},
		{from: "skipStatistics", to: []string{statsKey}},
		{from: "skip_statistics", to: []string{statsKey}},
		{from: "skipJoinHashIndexes", to: []string{indexesKey}},
		{from: "retainedCopy", to: []string{retainedKey}},
	}
}

func targetAliases() []alias {
	return []alias{
		{from: "targetSite", to: []string{"target_site_id"}},
		{from: "targetSiteId", to: []string{"target_site_id"}},
		{from: "targetRetentionCopiesCount", to: []string{"target_retention_copies_count"}},
		{from: "targetRetentionSource", to: []string{"target_retention_source"}},
	}
}

func objectAliases() []alias {
	return []alias{
		{from: "objectName", to: []string{"object_name"}},
		{from: "objectType", to: []string{"object_type"}},
		{from: "parentName", to: []string{"parent_name"}},
		{from: "parentType", to: []string{"parent_type"}},
		{from: "includeAll", to: []string{"include_all"}},
		{from: "excludeObjects", to: []string{excludeKey}},
		{from: "renameTo", to: []string{"rename_to"}},
	}
}

// canonical gives the keys of a job their documented spelling, in place. Two
// spellings of one key with different values are refused.
func canonical(t Tree) error {
	if err := respell("", t, jobAliases()); err != nil {
		return err
	}
	if target, ok := t[targetKey].(map[string]any); ok {
		if err := respell(targetKey, target, targetAliases()); err != nil {
			return err
		}
	}
	return canonicalSettings(t)
}

// canonicalRestore is canonical for a request to restore.
func canonicalRestore(t Tree) error {
	if err := respell("", t, restoreAliases()); err != nil {
		return err
	}
	return canonicalSettings(t)
}

func canonicalSettings(t Tree) error {
	settings, ok := t[settingsKey].(map[string]any)
	if !ok {
		return nil
	}
	if err := respell(settingsKey, settings, settingsAliases()); err != nil {
		return err
	}
	objects, _ := settings[objectsKey].([]any)
	for _, v := range objects {
		object, ok := v.(map[string]any)
		if !ok {
			continue
		}
		if err := respell(objectsKey, object, objectAliases()); err != nil {
			return err
		}
		excluded, _ := object[excludeKey].([]any)
		for _, v := range excluded {
			if e, ok := v.(map[string]any); ok {
				if err := respell(excludeKey, e, objectAliases()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func respell(path string, m map[string]any, aliases []alias) error {
	for _, a := range aliases {
		v, ok := m[a.from]
		if !ok {
			continue
		}
		if b, isFlag := v.(bool); isFlag && a.invert {
			v = !b
		}
		delete(m, a.from)
		if err := put(m, a.to, v); err != nil {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "the keys %s and %s contradict each other",
				quote(join(path, a.from)), quote(join(path, a.to[len(a.to)-1]))).WithHint("give one of them")
		}
	}
	return nil
}

// put sets the value at the path, unless another one is there.
func put(m map[string]any, path []string, v any) error {
	for _, key := range path[:len(path)-1] {
		inner, ok := m[key].(map[string]any)
		if _, there := m[key]; there && !ok {
			return holdfast.Errorf(holdfast.CodeInvalid, "%s is not an object", key)
		}
		if !ok {
			inner = map[string]any{}
			m[key] = inner
		}
		m = inner
	}
	last := path[len(path)-1]
	if old, there := m[last]; there && !reflect.DeepEqual(old, v) {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s has another value", last)
	}
	m[last] = v
	return nil
}
