package definition

import _ "embed" // schemaJSON

//go:generate go test -count=1 -run ^TestReference$ . -args -update

//go:embed schema.json
var schemaJSON []byte

// Schema returns the JSON Schema (draft 2020-12) of a definition, for editors and
// for the reference. What it cannot say, such as that a name has to exist, [Parse]
// checks beyond it. The caller must not change it.
func Schema() []byte { return schemaJSON }
