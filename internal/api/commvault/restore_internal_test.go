package commvault

import (
	"maps"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

func TestTablespacesAreRedirectedByTheirPaths(t *testing.T) {
	t.Parallel()
	from := holdfast.Site{ID: 1001, Host: 1001, DataDir: "/pg/data"}
	set := holdfast.BackupSet{ID: 1001, Physical: holdfast.PhysicalFacts{Tablespaces: []holdfast.Tablespace{
		{OID: 16400, Path: "/ts/fast"}, {OID: 16401, Path: "/ts/slow"}, {OID: 16402},
	}}}
	for name, c := range map[string]struct {
		items     []text
		directory string
		want      map[uint32]string
		wrong     bool
	}{
		"all":                 {[]text{"/pg/data#/new/data", "/ts/fast#/new/fast", "/ts/slow/#/new/slow/"}, "/new/data", map[uint32]string{16400: "/new/fast", 16401: "/new/slow"}, false},
		"a tablespace alone":  {[]text{"/ts/fast#/new/fast"}, "", map[uint32]string{16400: "/new/fast"}, false},
		"none":                {nil, "", nil, false},
		"not the set's":       {[]text{"/ts/other#/new/other"}, "", nil, true},
		"without an old path": {[]text{"#/new"}, "", nil, true},
		"without a new path":  {[]text{"/ts/fast#"}, "", nil, true},
		"two parts too many":  {[]text{"/ts/fast#/a#/b"}, "", nil, true},
		"one path twice":      {[]text{"/ts/fast#/a", "/ts/fast/#/b"}, "", nil, true},
	} {
		var o restoreOptions
		o.Postgres.RedirectItems = c.items
		to := target{host: 1001}
		var err error
		to.directory, to.moved, err = o.directories(from)
		var spec holdfast.RestoreSpec
		if err == nil {
			spec, err = to.spec(set)
		}
		if (err != nil) != c.wrong {
			t.Errorf("%s: got %v", name, err)
		}
		if err == nil && (spec.Directory != c.directory || !maps.Equal(spec.Tablespaces, c.want)) {
			t.Errorf("%s: got %+v, want %s and %v", name, spec, c.directory, c.want)
		}
	}
}

func TestOnlyTheBestCopyCanBeChosen(t *testing.T) {
	t.Parallel()
	one := []holdfast.Copy{{State: holdfast.CopyComplete}, {State: holdfast.CopyExpired}}
	two := append(one, holdfast.Copy{State: holdfast.CopyVerified})
	for name, c := range map[string]struct {
		copies     []holdfast.Copy
		applicable bool
		n          int64
		ok         bool
	}{
		"the best of two":         {two, true, 0, true},
		"the only one":            {one, true, 1, true},
		"the first of two":        {two, true, 1, false},
		"a second that is gone":   {one, true, 2, false},
		"a number without weight": {two, false, 2, true},
	} {
		var o restoreOptions
		o.Browse.MediaOption.CopyPrecedence = copyPrecedence{flag{true, c.applicable}, number{c.n}}
		if err := o.checkCopy(service.SetView{Copies: c.copies}); (err == nil) != c.ok {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestWhatIsAGoodCopy(t *testing.T) {
	t.Parallel()
	for state, want := range map[holdfast.CopyState]bool{
		holdfast.CopyComplete: true, holdfast.CopyVerified: true, holdfast.CopyDamaged: false, holdfast.CopyUnconfirmed: false,
		holdfast.CopyExpired: false, holdfast.CopyDeleted: false, holdfast.CopyWriting: false, holdfast.CopyOrphaned: false,
	} {
		if got := good(holdfast.Copy{State: state}); got != want {
			t.Errorf("%s: got %t, want %t", state, got, want)
		}
	}
}
