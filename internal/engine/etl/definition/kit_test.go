package definition_test

import (
	"encoding/json"
	"slices"
)

func sortStrings(s []string) { slices.Sort(s) }

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
