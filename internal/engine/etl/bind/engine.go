package bind

import (
	"slices"
	"strings"
)

// Engine rewrites SQL for the engine: each $name becomes the expression that
// declared has for it. It returns the names that the SQL uses, as [EngineParameters]
// does. A name that declared lacks is refused.
func Engine(sql string, declared map[string]string) (rewritten string, used []string, err error) {
	if used, err = EngineParameters(sql); err != nil {
		return "", nil, err
	}
	tokens, err := scan(sql)
	if err != nil {
		return "", nil, err
	}
	var b strings.Builder
	done := 0
	for _, t := range tokens {
		if t.kind != dollar {
			continue
		}
		expression, ok := declared[sql[t.start+1:t.end]]
		if !ok {
			return "", nil, fault(sql, t.start, "the definition declares no parameter %s", sql[t.start+1:t.end]).
				WithHint("declare it below parameters")
		}
		b.WriteString(sql[done:t.start])
		b.WriteString(expression)
		done = t.end
	}
	b.WriteString(sql[done:])
	return b.String(), slices.Clip(used), nil
}
