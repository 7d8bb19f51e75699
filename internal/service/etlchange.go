package service

import (
	"bytes"
	"maps"
	"slices"

	"github.com/holdfast-backup/holdfast"
)

// configurationChanges says what has become of run configurations: which were added,
// removed, renamed and switched, and the names of properties that were added, removed
// or got another value. Values are not told: some are secrets by what the definition
// does with them.
func configurationChanges(old, now []holdfast.RunConfiguration) []facts {
	var changes []facts
	byID := func(all []holdfast.RunConfiguration, id holdfast.RunConfigurationID) *holdfast.RunConfiguration {
		i := slices.IndexFunc(all, func(c holdfast.RunConfiguration) bool { return c.ID == id })
		if i < 0 {
			return nil
		}
		return &all[i]
	}
	for _, c := range old {
		if byID(now, c.ID) == nil {
			changes = append(changes, facts{"id": c.ID, "name": c.Name, "removed": true})
		}
	}
	for _, c := range now {
		was := byID(old, c.ID)
		change := facts{}
		if was == nil {
			change["added"], was = true, &holdfast.RunConfiguration{Name: c.Name}
		}
		if was.Name != c.Name {
			change["name_before"] = was.Name
		}
		if was.Active != c.Active {
			change["active"] = c.Active
		}
		for name, names := range propertyChanges(*was, c) {
			change[name] = names
		}
		if len(change) > 0 {
			change["id"], change["name"] = c.ID, c.Name
			changes = append(changes, change)
		}
	}
	return changes
}

// propertyChanges are the names of the properties that differ, by how.
func propertyChanges(old, now holdfast.RunConfiguration) map[string][]string {
	changes := map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(now.Properties)) {
		before, ok := old.Properties[name]
		switch {
		case !ok:
			changes["properties_added"] = append(changes["properties_added"], name)
		case before != now.Properties[name] || !bytes.Equal(old.Sealed[name], now.Sealed[name]): // a value that cannot be opened is empty
			changes["properties_changed"] = append(changes["properties_changed"], name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old.Properties)) {
		if _, ok := now.Properties[name]; !ok {
			changes["properties_removed"] = append(changes["properties_removed"], name)
		}
	}
	return changes
}
