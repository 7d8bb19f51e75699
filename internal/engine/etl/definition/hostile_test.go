package definition_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// Texts that are made to take long, or to be deep, are refused soon.
func TestParseHostile(t *testing.T) {
	const limit = 10 * time.Second // on a busy machine; each takes less than one
	repeat := func(s string) string { return strings.Repeat(s, definition.MaxText/len(s)) }
	for name, text := range map[string]string{
		"lists on one line":        repeat("- "),
		"open lists":               repeat("["),
		"open mappings":            repeat("{a: "),
		"closed lists":             strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000),
		"JSON lists":               `{"a":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}",
		"question marks":           repeat("? "),
		"keys without values":      repeat("a:\n"),
		"keys on one line":         repeat("a: "),
		"colons":                   repeat(":"),
		"quotes":                   repeat(`"`),
		"one key":                  repeat("a: b\n"),
		"a flow of nothing":        "[" + repeat(",")[1:],
		"a flow of keys":           "{" + repeat("a,")[2:],
		"aliases":                  "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
		"comments":                 repeat("#\n"),
		"documents":                repeat("---\n"),
		"deeper and deeper":        deeper(700),
		"a text of lines":          "name: |\n" + strings.Repeat(" x\n", 80_000),
		"a plain text of lines":    "name: x\n" + strings.Repeat(" x\n", 80_000),
		"tabs":                     repeat("\t"),
		"pipes":                    repeat("|\n"),
		"tags":                     repeat("! "),
		"dashes and line ends":     repeat("-\n"),
		"a list of keys":           repeat("- a:\n"),
		"carriage returns":         repeat("a: b\r"),
		"percent signs":            repeat("%\n"),
		"a list in a list in line": repeat("- - a\n"),
		"short entries":            strings.Repeat("- a\n", 19_000),
		"short keys":               strings.Repeat("- a: b\n", 14_000),
		"a flow of short keys":     "[" + strings.Repeat("{a: b},", 8_000) + "{}]",
		"one flow of short keys":   "{" + strings.Repeat("a: b,", 14_000) + "b: c}",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := definition.Parse([]byte(text))
			if err == nil {
				t.Fatal("it was taken")
			}
			if took := time.Since(start); took > limit {
				t.Errorf("it took %v: %.200v", took, err)
			}
		})
	}
}

func deeper(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}
