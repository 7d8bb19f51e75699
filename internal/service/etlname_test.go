package service_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// The definition of another ETL was taken without a word.
func TestUpdateETLWithDefinitionOfAnother(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		name, job, definition, rename string
		ok                            bool
	}{
		{"another's", "", "others", "", false},
		{"the job's", "sales", "sales", "", true},
		{"the definition's as it was", "turnover", "orders", "", true},
		{"both renamed", "", "invoices", "invoices", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := r.etl(c.job, berlinETL)
			changed := strings.Replace(definitionOf(c.definition, "", "berlin", "berlin"), "all orders", "all", 1)
			_, err := r.svc.UpdateETL(t.Context(), r.admin, j.ID, func(j *holdfast.Job) error {
				j.ETL.Definition = changed
				if c.rename != "" {
					j.Name = c.rename
				}
				return nil
			})
			if c.ok {
				if err != nil {
					t.Error(err)
				}
				must(r.svc.UpdateETL(t.Context(), r.admin, j.ID, func(j *holdfast.Job) error { j.Name += "-done"; return nil }))(t)
				return
			}
			wantInvalid(t, err)
			if hint := holdfast.ErrorHint(err); !strings.Contains(hint, "name: orders") {
				t.Errorf("got hint %q, want how to mend it", hint)
			}
			must(r.svc.UpdateETL(t.Context(), r.admin, j.ID, func(j *holdfast.Job) error { j.Name = "left"; return nil }))(t)
		})
	}
}
