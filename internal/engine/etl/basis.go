package etl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// inRelation stands in a basis between what it is of and by, and the relation.
const inRelation = " from "

// fromQuery begins the relation of a basis that is a query; a table's begins with a
// quote.
const fromQuery = "query "

// basis says what a counter's value means: of which target it is, by what the extract
// counts, and in which relation. A counter is no use to a flow for which it is another
// one.
func (f *flow) basis(in *definition.Input, t *target) string {
	counted := f.countedBy(in, t)
	switch e := in.Extract; {
	case e.Table != "":
		if name, err := definition.ParseTable(e.Table); err == nil {
			return counted + inRelation + name.SQL()
		}
	case e.Query != "":
		sum := sha256.Sum256([]byte(strings.Join(strings.Fields(e.Query), " ")))
		return counted + inRelation + fromQuery + hex.EncodeToString(sum[:8])
	}
	return counted
}

// countedBy is a basis without its relation, as earlier releases wrote it.
func (f *flow) countedBy(in *definition.Input, t *target) string {
	i := in.Extract.Incremental
	by := string(i.Strategy)
	if i.Strategy == definition.StrategyColumn {
		by = quoted([]string{i.Column})
		if i.Tie != "" {
			by = quoted([]string{i.Column, i.Tie})
		}
	}
	if t == nil { // the counter lies with the files
		return "by " + by
	}
	return t.sql + " by " + by
}

// input is the flow's incremental input of an extract; nil: there is none.
func (f *flow) input(extract string) *definition.Input {
	for i := range f.plan.Inputs {
		if in := &f.plan.Inputs[i]; in.Extract.Name == extract && in.Extract.Incremental != nil {
			return in
		}
	}
	return nil
}

// checkBasis refuses a counter that is of another target, of another column or of
// another table: going on from it would leave rows out, or load them twice. Of queries
// nobody can tell whether they read the same: the log says that one has changed. A
// basis from before, or a part of one, that was not written yet is taken as it is.
func (f *flow) checkBasis(ctx context.Context, in *definition.Input, t *target, basis string) error {
	want, counted := f.basis(in, t), f.countedBy(in, t)
	if basis == "" || basis == want || basis == counted {
		return nil
	}
	relation, same := strings.CutPrefix(basis, counted+inRelation)
	if !same || in.Extract.Table != "" && !strings.HasPrefix(relation, fromQuery) {
		return holdfast.Errorf(holdfast.CodeConflict, "flow %s: the counter of extract %s is that of %s, and the definition says %s", f.plan.Load.Name, in.Extract.Name, basis, want).
			WithHint("say where to go on: etl counter --flow %[1]s --extract %[2]s --reset begins from the beginning, and --set '…' behind a value", f.plan.Load.Name, in.Extract.Name)
	}
	if !f.toldOf[in.Extract.Name] { // a service without new rows keeps the old basis for long
		f.toldOf[in.Extract.Name] = true
		f.e.log.InfoContext(ctx, "the query has changed, and the counter goes on where it is", "flow", f.plan.Load.Name, "extract", in.Extract.Name)
	}
	return nil
}
