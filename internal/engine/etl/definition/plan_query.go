package definition

import "strings"

// base returns the SELECT of an extract alone; empty for a file.
func (e Extract) base() string {
	switch {
	case e.Query != "":
		return e.Query
	case e.Table == "":
		return ""
	}
	t, err := ParseTable(e.Table)
	if err != nil {
		return "" // Parse has refused it
	}
	columns := "*"
	if len(e.Columns) > 0 {
		columns = quoteIdentifiers(e.Columns)
	}
	return "select " + columns + " from " + t.SQL()
}

// Query returns the SELECT to run: the steps in the source over inner, which is
// [Input.Base], or a SELECT of the same columns around it. Parameters stand in it
// as :name.
//
// Each step knows the one below by its name, as a common table expression, and
// stands in a subquery so that it may have some of its own: a server refuses two
// WITH for one SELECT.
func (i Input) Query(inner string) string {
	for _, s := range i.Steps {
		// A line's end closes the comment that SQL may end with.
		inner = strings.Join([]string{"with " + QuoteIdentifier(s.Over) + " as (", inner, ")", "select * from (", s.SQL, ") as " + QuoteIdentifier(s.Name)}, "\n")
	}
	return inner
}
