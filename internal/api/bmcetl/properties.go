package bmcetl

import "github.com/holdfast-backup/holdfast"

// change is what a request does to properties: it removes first, then sets.
type change struct {
	set    map[string]string
	remove []string
}

// readChange reads properties: strings, and numbers and booleans as their JSON
// text; null removes the name. It names the first one, by name, that is not so.
func readChange(what string, o object) (change, error) {
	c := change{set: map[string]string{}}
	for _, name := range o.names() {
		value, ok := scalar(o[name])
		switch {
		case len(name) > holdfast.MaxPropertyName:
			return c, holdfast.Errorf(holdfast.CodeInvalid, "the name of the property %q in %s has %d bytes", clip(name), what, len(name)).
				WithHint("use at most %d", holdfast.MaxPropertyName)
		case len(value) > holdfast.MaxPropertyValue:
			return c, holdfast.Errorf(holdfast.CodeInvalid, "the value of the property %q in %s has %d bytes", clip(name), what, len(value)).
				WithHint("use at most %d", holdfast.MaxPropertyValue)
		case isNull(o[name]):
			c.remove = append(c.remove, name)
		case !ok:
			return c, holdfast.Errorf(holdfast.CodeInvalid, "the property %q in %s is not a string, a number or a boolean", clip(name), what).
				WithHint("give each property one flat value")
		default:
			c.set[name] = value
		}
	}
	return c, nil
}
