package holdfast

// RetentionUnit is what a retention counts.
type RetentionUnit string

// The units. A generation is a FULL set and what follows it until the next FULL.
const (
	RetainSets        RetentionUnit = "SETS"
	RetainGenerations RetentionUnit = "GENERATIONS"
)

// Retention says how many good backup sets of a job stay.
type Retention struct {
	Unit  RetentionUnit // empty: generations when the job has FULL runs in its schedule, else sets
	Count int           // at least 1
}

// DefaultRetention is what a job gets that names none.
const DefaultRetention = 7

// MaxRetention bounds Retention.Count.
const MaxRetention = 10000

// Validate checks the count and the unit.
func (r Retention) Validate() error {
	switch r.Unit {
	case "", RetainSets, RetainGenerations:
	default:
		return Errorf(CodeInvalid, "retention unit %q is unknown", r.Unit).WithHint("use SETS or GENERATIONS")
	}
	if r.Count < 1 || r.Count > MaxRetention {
		return Errorf(CodeInvalid, "retention of %d copies is out of range", r.Count).WithHint("keep 1 to %d", MaxRetention)
	}
	return nil
}
