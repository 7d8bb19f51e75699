package holdfast_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

func etlSpec() *holdfast.ETLSpec {
	return &holdfast.ETLSpec{
		Definition: "name: orders", Sites: []holdfast.SiteID{1001, 1002},
		Configurations: []holdfast.RunConfiguration{
			{ID: 1001, Name: "Default", Active: true, Properties: map[string]string{"day": "1", "region": "eu"}}, {ID: 1005, Name: "other"},
		},
	}
}

// properties makes n of them, with values of so many bytes.
func properties(n, size int) map[string]string {
	m := map[string]string{}
	for i := range n {
		m[fmt.Sprintf("p%04d", i)] = strings.Repeat("v", size)
	}
	return m
}

func TestETLJobValidate(t *testing.T) {
	first := func(change func(c *holdfast.RunConfiguration)) func(*holdfast.Job) {
		return func(j *holdfast.Job) { change(&j.ETL.Configurations[0]) }
	}
	for _, c := range []struct {
		name  string
		edit  func(*holdfast.Job)
		words string
	}{
		{"an ETL", func(*holdfast.Job) {}, ""},
		{"none", func(j *holdfast.Job) { j.ETL = nil }, "needs a definition"},
		{"no definition", func(j *holdfast.Job) { j.ETL.Definition = " \n" }, "definition is missing"},
		{"the longest definition", func(j *holdfast.Job) { j.ETL.Definition = strings.Repeat("d", holdfast.MaxDefinition) }, ""},
		{"a longer definition", func(j *holdfast.Job) { j.ETL.Definition = strings.Repeat("d", holdfast.MaxDefinition+1) }, "262145 bytes"},
		{"a definition in Latin 1", func(j *holdfast.Job) { j.ETL.Definition = "gr\xf6\xdfe" }, "not text"},
		{"a definition with a zero byte", func(j *holdfast.Job) { j.ETL.Definition = "a\x00" }, "not text"},
		{"no site", func(j *holdfast.Job) { j.ETL.Sites = nil }, "not one of its sites"},
		{"another's site", func(j *holdfast.Job) { j.Site = 1003 }, "not one of its sites"},
		{"sites out of order", func(j *holdfast.Job) { j.ETL.Sites = []holdfast.SiteID{1002, 1001} }, "not in order"},
		{"a site twice", func(j *holdfast.Job) { j.ETL.Sites = []holdfast.SiteID{1001, 1001} }, "not in order"},
		{"a site without an id", func(j *holdfast.Job) { j.ETL.Sites = []holdfast.SiteID{0, 1001} }, "not in order"},
		{"the most sites", func(j *holdfast.Job) { j.ETL.Sites = manySites(holdfast.MaxETLSites) }, ""},
		{"more sites", func(j *holdfast.Job) { j.ETL.Sites = manySites(holdfast.MaxETLSites + 1) }, "65 sites"},
		{"no run configuration", func(j *holdfast.Job) { j.ETL.Configurations = nil }, "no run configuration"},
		{"none active", first(func(c *holdfast.RunConfiguration) { c.Active = false }), ""},
		{"two active", func(j *holdfast.Job) { j.ETL.Configurations[1].Active = true }, "2 run configurations are active"},
		{"a run configuration without an id", first(func(c *holdfast.RunConfiguration) { c.ID = 0 }), "run configuration 0"},
		{"the same id twice", func(j *holdfast.Job) { j.ETL.Configurations[1].ID = 1001 }, "order of ids"},
		{"the same name twice", func(j *holdfast.Job) { j.ETL.Configurations[1].Name = "Default" }, `named "Default"`},
		{"no name", first(func(c *holdfast.RunConfiguration) { c.Name = " " }), "name of run configuration 1001 is missing"},
		{"a longer name", first(func(c *holdfast.RunConfiguration) { c.Name = strings.Repeat("ü", holdfast.MaxJobName+1) }), "129 characters"},
		{"a name with a tab", first(func(c *holdfast.RunConfiguration) { c.Name = "a\tb" }), "control character"},
		{"the most properties", first(func(c *holdfast.RunConfiguration) { c.Properties = properties(holdfast.MaxConfigured, 1) }), ""},
		{"more properties", first(func(c *holdfast.RunConfiguration) { c.Properties = properties(holdfast.MaxConfigured+1, 1) }), "257 properties"},
		{"the longest value", first(func(c *holdfast.RunConfiguration) { c.Properties = properties(1, holdfast.MaxPropertyValue) }), ""},
		{"a longer value", first(func(c *holdfast.RunConfiguration) { c.Properties = properties(1, holdfast.MaxPropertyValue+1) }), `value of property "p0000" has 8193`},
		{"many long values", first(func(c *holdfast.RunConfiguration) { c.Properties = properties(30, holdfast.MaxPropertyValue) }), "take 245910 bytes"},
		{"a value with a zero byte", first(func(c *holdfast.RunConfiguration) { c.Properties["day"] = "\x00" }), `value of property "day" is not text`},
		{"a value of lines", first(func(c *holdfast.RunConfiguration) { c.Properties["day"] = "a\n\tß" }), ""},
		{"a property without a name", first(func(c *holdfast.RunConfiguration) { c.Properties[""] = "1" }), "no name"},
		{"the longest property name", first(func(c *holdfast.RunConfiguration) { c.Properties[strings.Repeat("n", holdfast.MaxPropertyName)] = "" }), ""},
		{"a longer property name", first(func(c *holdfast.RunConfiguration) { c.Properties[strings.Repeat("n", holdfast.MaxPropertyName+1)] = "" }), "257 bytes"},
		{"a property name of lines", first(func(c *holdfast.RunConfiguration) { c.Properties["a\nb"] = "" }), "not printable"},
		{"a recurrence", func(j *holdfast.Job) {
			j.ETL.Recurrence = &holdfast.Recurrence{Start: noon, Period: time.Second, Armed: true}
		}, ""},
		{"a recurrence without a start", func(j *holdfast.Job) { j.ETL.Recurrence = &holdfast.Recurrence{Period: time.Second} }, "start"},
		{"a recurrence without a period", func(j *holdfast.Job) { j.ETL.Recurrence = &holdfast.Recurrence{Start: noon} }, "period of 0s"},
		{"a period of parts of a second", func(j *holdfast.Job) {
			j.ETL.Recurrence = &holdfast.Recurrence{Start: noon, Period: 1500 * time.Millisecond}
		}, "period of 1.5s"},
		{"a period of centuries", func(j *holdfast.Job) {
			j.ETL.Recurrence = &holdfast.Recurrence{Start: noon, Period: holdfast.MaxPeriod + time.Second}
		}, "out of range"},
		{"an armed service", func(j *holdfast.Job) {
			j.ETL.Service, j.ETL.Recurrence = true, &holdfast.Recurrence{Start: noon, Period: time.Hour, Armed: true}
		}, "a service has no planned executions"},
		{"a service with a start", func(j *holdfast.Job) {
			j.ETL.Service, j.ETL.Recurrence = true, &holdfast.Recurrence{Start: noon, Period: time.Hour}
		}, ""},
		{"an aborted service", func(j *holdfast.Job) { j.ETL.Service, j.ETL.Aborted = true, true }, ""},
		{"an aborted batch", func(j *holdfast.Job) { j.ETL.Aborted = true }, "only a service"},
	} {
		j := holdfast.Job{Type: holdfast.JobETL, Engine: holdfast.EngineETL, Site: 1001, Name: "orders", Priority: holdfast.DefaultPriority, ETL: etlSpec()}
		c.edit(&j)
		wantInvalid(t, c.name, j.Validate(), c.words)
	}
}

func manySites(n int) (list []holdfast.SiteID) {
	for i := range n {
		list = append(list, holdfast.SiteID(1001+i))
	}
	return list
}

func TestETLRunValidate(t *testing.T) {
	for _, c := range []struct {
		name  string
		run   holdfast.ETLRun
		words string
	}{
		{"nothing", holdfast.ETLRun{}, ""},
		{"both", holdfast.ETLRun{Properties: properties(2, 1), Removed: []string{"a", "b"}}, ""},
		{"the most", holdfast.ETLRun{Properties: properties(holdfast.MaxProperties-1, 1), Removed: []string{"a"}}, ""},
		{"more", holdfast.ETLRun{Properties: properties(holdfast.MaxProperties, 1), Removed: []string{"a"}}, "65 properties"},
		{"a longer value", holdfast.ETLRun{Properties: properties(1, holdfast.MaxPropertyValue+1)}, "8193 bytes"},
		{"many long values", holdfast.ETLRun{Properties: properties(9, holdfast.MaxPropertyValue)}, "take 73773 bytes"},
		{"one both given and removed", holdfast.ETLRun{Properties: properties(1, 1), Removed: []string{"p0000"}}, `"p0000" is both`},
		{"one removed without a name", holdfast.ETLRun{Removed: []string{""}}, "no name"},
		{"removed out of order", holdfast.ETLRun{Removed: []string{"b", "a"}}, "not in order"},
		{"removed twice", holdfast.ETLRun{Removed: []string{"a", "a"}}, "not in order"},
		{"a negative version", holdfast.ETLRun{Version: -1}, "negative"},
	} {
		wantInvalid(t, c.name, c.run.Validate(), c.words)
	}
}

func TestPropertiesOf(t *testing.T) {
	for _, c := range []struct {
		name       string
		properties map[string]string
		removed    []string
		want       map[string]string
		simulate   bool
	}{
		{"none given", nil, nil, map[string]string{"day": "1", "region": "eu"}, false},
		{"one over the configuration's", map[string]string{"day": "2"}, nil, map[string]string{"day": "2", "region": "eu"}, false},
		{"one more", map[string]string{"x": ""}, nil, map[string]string{"day": "1", "region": "eu", "x": ""}, false},
		{"one taken away", nil, []string{"day", "none", "day"}, map[string]string{"region": "eu"}, false},
		{"a simulation", map[string]string{"simulation.mode": "Yes"}, []string{"day", "region"}, map[string]string{}, true},
		{"no simulation", map[string]string{"simulation.mode": "no"}, nil, map[string]string{"day": "1", "region": "eu"}, false},
	} {
		spec := etlSpec()
		r := spec.RunOf(c.properties, c.removed, false)
		got, err := spec.PropertiesOf(r)
		if err != nil || !maps.Equal(got, c.want) || r.Simulate != c.simulate {
			t.Errorf("%s: got %v, simulate %v and error %v, want %v, simulate %v", c.name, got, r.Simulate, err, c.want, c.simulate)
		}
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if again := spec.RunOf(c.properties, slices.Compact(slices.Clone(c.removed)), false); !r.Same(again) {
			t.Errorf("%s: got %+v and %+v, which should be the same", c.name, r, again)
		}
	}
	spec := etlSpec()
	spec.Configurations[0].Properties["simulation.mode"] = "true"
	if !spec.RunOf(nil, nil, false).Simulate || spec.RunOf(map[string]string{"simulation.mode": "false"}, nil, false).Simulate {
		t.Error("a run configuration that simulates is not overridable, or does not count")
	}
	spec.Configurations[0].Active = false
	_, err := spec.PropertiesOf(holdfast.ETLRun{})
	wantInvalid(t, "no active run configuration", err, "no active run configuration")
}

func TestSameRun(t *testing.T) {
	one := holdfast.ETLRun{Properties: map[string]string{"a": "1"}, Removed: []string{"b"}, Version: 4, Service: true}
	for _, c := range []struct {
		name  string
		other holdfast.ETLRun
		want  bool
	}{
		{"but for the version", holdfast.ETLRun{Properties: map[string]string{"a": "1"}, Removed: []string{"b"}}, true},
		{"another value", holdfast.ETLRun{Properties: map[string]string{"a": "2"}, Removed: []string{"b"}}, false},
		{"another name", holdfast.ETLRun{Properties: map[string]string{"x": "1"}, Removed: []string{"b"}}, false},
		{"nothing removed", holdfast.ETLRun{Properties: map[string]string{"a": "1"}}, false},
		{"a simulation", holdfast.ETLRun{Properties: map[string]string{"a": "1"}, Removed: []string{"b"}, Simulate: true}, false},
	} {
		if got := one.Same(c.other); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if !(holdfast.ETLRun{Properties: map[string]string{}}).Same(holdfast.ETLRun{}) {
		t.Error("no properties are not the same as none")
	}
}

func TestSecretProperty(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"password": true, "db.Password": true, "password.of.db": true, "API_KEY": true, "passphrase": true, "refresh.token": true,
		"client_secret": true, "aws.credentials": true, "dbPasswd": true, "keys": false, "key.column": false, "day": false, "": false,
	} {
		if got := holdfast.SecretProperty(name); got != want {
			t.Errorf("%s: got secret %v, want %v", name, got, want)
		}
	}
}
