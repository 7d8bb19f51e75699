package commvault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
)

// forest is a tree in memory. It counts the jobs that it hands out.
type forest struct {
	hostList []holdfast.Host
	siteList []holdfast.Site
	jobList  []holdfast.Job
	read     int
}

func (f *forest) hosts(context.Context) ([]holdfast.Host, error) { return f.hostList, nil }

func (f *forest) sites(context.Context) ([]holdfast.Site, error) { return f.siteList, nil }

func (f *forest) job(_ context.Context, id holdfast.JobID) (holdfast.Job, error) {
	for _, j := range f.jobList {
		if j.ID == id && j.Deleted.IsZero() {
			f.read++
			return j, nil
		}
	}
	return holdfast.Job{}, holdfast.Errorf(holdfast.CodeNotFound, "job %d does not exist", id)
}

func (f *forest) jobs(_ context.Context, sites []holdfast.SiteID, name string) ([]holdfast.Job, error) {
	var list []holdfast.Job
	for _, j := range f.jobList {
		if j.Type == holdfast.JobBackup && j.Deleted.IsZero() && (len(sites) == 0 || slices.Contains(sites, j.Site)) &&
			(name == "" && j.Active || name != "" && strings.EqualFold(j.Name, name)) {
			list = append(list, j)
		}
	}
	f.read += len(list)
	return list, nil
}

// grove is the tree of the table:
//
//	PGsrv01 (1001)  PG_Main (1001)  nightly 1001, Weekly 1002; idle 1003 is switched off, old 1004 deleted, restore 1005 a restore
//	                PG_Test (1002)  nightly 1006
//	pgsrv02 (1002)  pg_bare (1003)  nightly 1007, own 1008: the site has no repository, own has
//	empty   (1003)
func grove() *forest {
	backup := func(id holdfast.JobID, site holdfast.SiteID, name string) holdfast.Job {
		return holdfast.Job{ID: id, Site: site, Type: holdfast.JobBackup, Engine: holdfast.EnginePhysical, Name: name, Active: true}
	}
	idle, old, restore, own := backup(1003, 1001, "idle"), backup(1004, 1001, "old"), backup(1005, 1001, "restore"), backup(1008, 1003, "own")
	idle.Active = false
	old.Deleted = time.Unix(1, 0)
	restore.Type = holdfast.JobRestore
	own.Repository = 1002
	return &forest{
		hostList: []holdfast.Host{{ID: 1001, Name: "PGsrv01"}, {ID: 1002, Name: "pgsrv02"}, {ID: 1003, Name: "empty"}},
		siteList: []holdfast.Site{
			{ID: 1001, Host: 1001, Slug: "PG_Main", Repository: 1001},
			{ID: 1002, Host: 1001, Slug: "PG_Test", Repository: 1001},
			{ID: 1003, Host: 1002, Slug: "pg_bare"},
		},
		jobList: []holdfast.Job{
			backup(1001, 1001, "nightly"), backup(1002, 1001, "Weekly"), idle, old, restore,
			backup(1006, 1002, "nightly"), backup(1007, 1003, "nightly"), own,
		},
	}
}

// resolved returns the ids that the associations lead to, as text.
func resolved(t interface{ Fatal(...any) }, f *forest, list ...association) string {
	pointers := make([]*association, len(list))
	for i := range list {
		pointers[i] = &list[i]
	}
	jobs, err := resolve(context.Background(), f, pointers)
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		ids[i] = fmt.Sprint(j.ID)
	}
	return strings.Join(ids, " ")
}

func id(n int64) number { return number{n} }

// TestAssociations has a row for each rule of docs/api/commvault.md,
// "Associations".
func TestAssociations(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rule string
		a    association
		want string
	}{
		{"1: nothing given", association{}, ""},
		{"1: -1 and empty texts are not given", association{SubclientID: id(-1), InstanceID: id(-1), BackupsetID: id(-1), ClientID: id(1002)}, "1008"},
		{"1: the placeholder is not given", association{
			ClientName: "string", DisplayName: "string", InstanceName: "string", BackupsetName: "string", SubclientName: "string", AppName: "PostgreSQL",
		}, ""},
		{"1: placeholders beside an id", association{
			ClientName: "string", DisplayName: "string", InstanceName: "string", BackupsetName: "string", SubclientName: "string", InstanceID: id(1001),
		}, "1001 1002"},
		{"2: an id", association{SubclientID: id(1001)}, "1001"},
		{"2: an id and its name", association{SubclientID: id(1001), SubclientName: "nightly"}, "1001"},
		{"2: an id and its name in another case", association{SubclientID: id(1002), SubclientName: "WEEKLY"}, "1002"},
		{"2: an id and another name", association{SubclientID: id(1001), SubclientName: "Weekly"}, ""},
		{"2: a client's id and another name", association{ClientID: id(1001), ClientName: "pgsrv02"}, ""},
		{"2: an instance's id and another name", association{InstanceID: id(1001), InstanceName: "pg_test"}, ""},
		{"2: a set's id and another name", association{BackupsetID: id(2002), BackupsetName: "DumpBasedBackupSet"}, ""},
		{"2: a subclient of another instance", association{InstanceID: id(1002), SubclientID: id(1001)}, ""},
		{"2: a set of another instance", association{InstanceID: id(1002), BackupsetID: id(2002)}, ""},
		{"2: an instance of another client", association{ClientName: "pgsrv02", InstanceName: "PG_Main"}, ""},
		{"2: an id that nothing has", association{SubclientID: id(5)}, ""},
		{"2: an id below zero", association{SubclientID: id(-7)}, ""},
		{"2: a name that nothing has", association{ClientName: "other"}, ""},
		{"3: the application by its id", association{InstanceID: id(1001), ApplicationID: id(125)}, "1001 1002"},
		{"3: the application by its name", association{InstanceID: id(1001), AppName: "postgresql"}, "1001 1002"},
		{"3: another application by its id", association{InstanceID: id(1001), ApplicationID: id(33)}, ""},
		{"3: another application by its name", association{InstanceID: id(1001), AppName: "Oracle", ApplicationID: id(125)}, ""},
		{"3: the application alone", association{AppName: "PostgreSQL", ApplicationID: id(125)}, ""},
		{"3: the display name for the client's", association{DisplayName: "PGSRV02"}, "1008"},
		{"3: the display name beside the client's", association{ClientName: "pgsrv02", DisplayName: "PG Server 02"}, "1008"},
		{"3: the display name beside the client's id", association{ClientID: id(1002), DisplayName: "PG Server 02"}, "1008"},
		{"4: a subclient", association{ClientName: "pgsrv01", InstanceName: "pg_main", BackupsetName: "fsbasedbackupset", SubclientName: "NIGHTLY"}, "1001"},
		{"4: a subclient's name below a client is one of each instance", association{ClientName: "PGsrv01", SubclientName: "nightly"}, "1001 1006"},
		{"4: a subclient's name below an instance", association{InstanceName: "PG_Test", SubclientName: "nightly"}, "1006"},
		{"4: a subclient's name below a set", association{BackupsetID: id(2004), SubclientName: "nightly"}, "1006"},
		{"4: a subclient's name alone", association{SubclientName: "nightly"}, ""},
		{"4: a subclient's name below a set's name alone", association{BackupsetName: "FSBasedBackupSet", SubclientName: "nightly"}, ""},
		{"4: a set by its id", association{BackupsetID: id(2002)}, "1001 1002"},
		{"4: a set by its name", association{InstanceName: "PG_Main", BackupsetName: "FSBASEDBACKUPSET"}, "1001 1002"},
		{"4: a set's name below a client", association{ClientID: id(1001), BackupsetName: "FSBasedBackupSet"}, "1001 1002 1006"},
		{"4: a set's name alone", association{BackupsetName: "FSBasedBackupSet"}, ""},
		{"4: a set that no instance has", association{InstanceID: id(1001), BackupsetName: "defaultBackupSet"}, ""},
		{"4: the dump set by its id", association{BackupsetID: id(2003)}, ""},
		{"4: the dump set by its name", association{InstanceID: id(1001), BackupsetName: "DumpBasedBackupSet"}, ""},
		{"4: a subclient of the dump set", association{BackupsetID: id(2003), SubclientID: id(1001)}, ""},
		{"4: an instance", association{InstanceName: "PG_MAIN"}, "1001 1002"},
		{"4: a client", association{ClientName: "pgSRV01"}, "1001 1002 1006"},
		{"4: a client without instances", association{ClientName: "empty"}, ""},
		{"4: the CommServe", association{ClientID: id(2)}, ""},
		{"5: a subclient that is switched off", association{SubclientID: id(1003)}, ""},
		{"5: a deleted subclient", association{SubclientID: id(1004)}, ""},
		{"5: what is no subclient", association{SubclientID: id(1005)}, ""},
		{"5: a subclient without a repository", association{SubclientID: id(1007)}, ""},
		{"5: a subclient with a repository of its own", association{SubclientID: id(1008)}, "1008"},
	} {
		if got := resolved(t, grove(), c.a); got != c.want {
			t.Errorf("%s: got %q, want %q", c.rule, got, c.want)
		}
	}
}

func TestAssociationsUnite(t *testing.T) {
	t.Parallel()
	got := resolved(t, grove(), association{InstanceID: id(1002)}, association{SubclientID: id(1001)}, association{SubclientID: id(1001)},
		association{ClientName: "other"}, association{BackupsetID: id(2004)})
	if want := "1001 1006"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestThePlaceholderMayBeAName(t *testing.T) {
	t.Parallel()
	all := association{ClientName: "string", DisplayName: "string", InstanceName: "string", BackupsetName: "string", SubclientName: "string"}
	for _, c := range []struct {
		name string
		give func(f *forest)
		want string
	}{
		{"of a client", func(f *forest) { f.hostList[0].Name = "string" }, "1001 1002 1006"},
		{"of an instance", func(f *forest) { f.siteList[1].Slug = "String" }, "1006"},
		{"of a subclient: that alone names nothing", func(f *forest) { f.jobList[0].Name = "string" }, ""},
		{"of a client and a subclient", func(f *forest) { f.hostList[0].Name, f.jobList[0].Name = "string", "string" }, "1001"},
	} {
		f := grove()
		c.give(f)
		if got := resolved(t, f, all); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestNamesThatDifferInCaseAlone(t *testing.T) {
	t.Parallel()
	f := grove()
	f.jobList[1].Name = "Nightly"
	for name, want := range map[text]string{"nightly": "1001", "Nightly": "1002", "NIGHTLY": "1001 1002"} {
		if got := resolved(t, f, association{InstanceID: id(1001), SubclientName: name}); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestResolvingReadsNoMoreThanItNeeds(t *testing.T) {
	t.Parallel()
	f := grove()
	for n := range 5000 {
		f.jobList = append(f.jobList, holdfast.Job{
			ID: holdfast.JobID(10_000 + n), Site: 1002, Type: holdfast.JobBackup, Engine: holdfast.EnginePhysical, Name: fmt.Sprintf("j%d", n), Active: true,
		})
	}
	for name, a := range map[string]association{
		"by id":            {SubclientID: id(10_007)},
		"by id and names":  {ClientName: "pgsrv01", InstanceName: "pg_test", BackupsetName: "FSBasedBackupSet", SubclientID: id(10_007), SubclientName: "j7"},
		"by name":          {InstanceID: id(1002), SubclientName: "J7"},
		"of the dump set":  {BackupsetID: id(2005)},
		"another instance": {InstanceID: id(1001)},
		"no instance":      {ClientName: "other"},
	} {
		f.read = 0
		resolved(t, f, a)
		if f.read > 2 {
			t.Errorf("%s: %d jobs were read", name, f.read)
		}
	}
	for name, list := range map[string][]*association{
		"5000 subclients of an instance": {{InstanceID: id(1002)}},
		"1001 associations":              slices.Repeat([]*association{{InstanceID: id(1001)}}, maxTaskJobs+1),
	} {
		if jobs, err := resolve(t.Context(), f, list); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %d, %v, want them refused", name, len(jobs), err)
		}
	}
	f.read = 0
	if jobs, err := resolve(t.Context(), f, slices.Repeat([]*association{{InstanceID: id(1001)}}, maxTaskJobs)); err != nil || len(jobs) != 2 || f.read > 2 {
		t.Errorf("1000 associations: got %d, %v, and %d jobs were read", len(jobs), err, f.read)
	}
}

// drawAssociation draws from what the grove has and from what it has not.
func drawAssociation(t *rapid.T) association {
	pick := func(label string, values ...int64) number {
		return number{rapid.SampledFrom(append(values, 0, 0, 0, -1, 5)).Draw(t, label)}
	}
	name := func(label string, values ...text) text {
		return rapid.SampledFrom(append(values, "", "", "", "string", "other")).Draw(t, label)
	}
	return association{
		ClientID: pick("client", 2, 1001, 1002, 1003), ClientName: name("client name", "PGsrv01", "pgsrv01", "pgsrv02"),
		DisplayName: name("display name", "pgsrv02", "PG Server"), ApplicationID: pick("application", 125, 125, 33), AppName: name("app", "PostgreSQL", "postgresql"),
		InstanceID: pick("instance", 1001, 1002, 1003), InstanceName: name("instance name", "PG_Main", "pg_test", "pg_bare"),
		BackupsetID: pick("set", 2002, 2003, 2004, 2006), BackupsetName: name("set name", "FSBasedBackupSet", "dumpbasedbackupset"),
		SubclientID: pick("subclient", 1001, 1002, 1003, 1005, 1006, 1008), SubclientName: name("subclient name", "nightly", "weekly", "Nightly"),
	}
}

// drawGrove draws a tree like the grove, in which anything may be missing.
func drawGrove(t *rapid.T) *forest {
	f := grove()
	some := func(label string) bool { return rapid.IntRange(0, 3).Draw(t, label) > 0 }
	f.hostList = slices.DeleteFunc(f.hostList, func(holdfast.Host) bool { return !some("host") })
	f.siteList = slices.DeleteFunc(f.siteList, func(holdfast.Site) bool { return !some("site") })
	f.jobList = slices.DeleteFunc(f.jobList, func(holdfast.Job) bool { return !some("job") })
	for i := range f.jobList {
		f.jobList[i].Active = some("active")
		if !some("name") {
			f.jobList[i].Name = "string"
		}
	}
	return f
}

func TestPropertiesOfResolving(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		f := drawGrove(t)
		list := rapid.SliceOfN(rapid.Custom(drawAssociation), 1, 4).Draw(t, "associations")
		got := strings.Fields(resolved(t, f, list...))

		more := append(slices.Clone(list), drawAssociation(t))
		with := strings.Fields(resolved(t, f, more...))
		for _, id := range got {
			if !slices.Contains(with, id) {
				t.Fatalf("with one association more, %s is missing: %v, before %v", id, with, got)
			}
		}
		if other := strings.Fields(resolved(t, f, rapid.Permutation(list).Draw(t, "order")...)); !slices.Equal(other, got) {
			t.Fatalf("in another order: %v, before %v", other, got)
		}
		if again := strings.Fields(resolved(t, f, append(slices.Clone(list), list...)...)); !slices.Equal(again, got) {
			t.Fatalf("each twice: %v, before %v", again, got)
		}
		for _, id := range got {
			i := slices.IndexFunc(f.jobList, func(j holdfast.Job) bool { return fmt.Sprint(j.ID) == id })
			if i < 0 || !slices.ContainsFunc(f.siteList, func(s holdfast.Site) bool { return s.ID == f.jobList[i].Site }) {
				t.Fatalf("%s is nothing that the caller may see", id)
			}
			if j := f.jobList[i]; !j.Active || j.Type != holdfast.JobBackup || !j.Deleted.IsZero() {
				t.Fatalf("%s cannot be backed up", id)
			}
		}
	})
}
