package etl

import (
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// planOf makes the plan of an execution with these properties.
func planOf(text string, properties map[string]string) (*definition.Plan, error) {
	d, err := definition.Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	return d.Plan(definition.Source{properties}, time.Now())
}
