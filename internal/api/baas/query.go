package baas

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Limits of a page.
const (
	defaultPageSize = 10
	maxPageSize     = 1000
	maxPage         = 1 << 40 // pages beyond it are empty as well; Number × Size stays an int64
)

// Page is a part of a list as this dialect counts: from 1.
type Page struct {
	Number int
	Size   int
}

// Store returns the page as the store counts.
func (p Page) Store() store.Page { return store.Page{Offset: (p.Number - 1) * p.Size, Limit: p.Size} }

// Query is the parameters of a request.
type Query struct {
	values url.Values
}

// readQuery reads the query of a URL.
func readQuery(u *url.URL) (Query, error) {
	v, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Query{}, holdfast.Wrap(holdfast.CodeInvalid, err, "the query of the URL is malformed").
			WithHint("separate parameters with & and encode special characters with %%")
	}
	return Query{v}, nil
}

// one returns the value of a parameter with several spellings, without blanks
// around it. ok is false when it is absent or empty.
func (q Query) one(names ...string) (value string, ok bool, err error) {
	for _, name := range names {
		for _, v := range q.values[name] {
			v = strings.TrimSpace(v)
			switch {
			case v == "":
			case ok && v != value:
				return "", false, holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s has two values, %q and %q", names[0], value, v).
					WithHint("give it once")
			default:
				value, ok = v, true
			}
		}
	}
	return value, ok, nil
}

// Text returns the value of a parameter with several spellings; empty: none.
func (q Query) Text(names ...string) (string, error) {
	v, _, err := q.one(names...)
	return v, err
}

// Page reads the page that is asked for. A list that documents no paging is
// whole, up to the largest page, while no parameter asks for less.
func (q Query) Page(paged bool) (Page, error) {
	number, hasNumber, err := q.count("page")
	if err != nil {
		return Page{}, err
	}
	size, hasSize, err := q.count("page-size", "page_size", "pageSize")
	if err != nil {
		return Page{}, err
	}
	p := Page{Number: int(min(max(number, 1), maxPage)), Size: int(min(size, maxPageSize))}
	switch {
	case p.Size > 0: // 0 is the default
	case paged || hasNumber || hasSize:
		p.Size = defaultPageSize
	default:
		p.Size = maxPageSize
	}
	return p, nil
}

// count reads a number that is not negative; absent is 0.
func (q Query) count(names ...string) (n int64, ok bool, err error) {
	v, ok, err := q.one(names...)
	if err != nil || !ok {
		return 0, false, err
	}
	n, err = strconv.ParseInt(v, 10, 64)
	if n < 0 || (err != nil && !errors.Is(err, strconv.ErrRange)) {
		return 0, false, holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s is %q", names[0], v).
			WithHint("give a whole number from 1")
	}
	return n, true, nil // ParseInt returns the largest number for one out of range
}

// JobFilter is what a list of jobs is narrowed to.
type JobFilter struct {
	Types      []holdfast.JobType // BACKUP, RESTORE, or both
	ActiveOnly bool
	// None is true when no job can match: the filter asks for a kind of backup
	// that this server does not make.
	None bool
}

// JobTypes lists the types of jobs that these dialects know.
func JobTypes() []holdfast.JobType {
	return []holdfast.JobType{holdfast.JobBackup, holdfast.JobRestore}
}

// JobFilter reads the filters of a list of jobs. Lake names the job type
// backup-type, so all spellings are one filter whose value tells what is
// meant.
func (q Query) JobFilter() (JobFilter, error) {
	var f JobFilter
	for _, name := range []string{"job-type", "job_type", "jobType", "backup-type", "backup_type", "backupType"} {
		for _, v := range q.values[name] {
			if err := f.add(name, strings.ToUpper(strings.TrimSpace(v))); err != nil {
				return JobFilter{}, err
			}
		}
	}
	if len(f.Types) == 0 {
		f.Types = JobTypes()
	}
	v, given, err := q.one("is-active", "is_active", "isActive")
	if err != nil {
		return JobFilter{}, err
	}
	switch strings.ToLower(v) {
	case "true", "1", "yes":
		f.ActiveOnly = true
	case "false", "0", "no":
	case "":
		f.ActiveOnly = !given && (q.values.Has("is-active") || q.values.Has("is_active") || q.values.Has("isActive"))
	default:
		return JobFilter{}, holdfast.Errorf(holdfast.CodeInvalid, "the parameter is-active is %q", v).WithHint("use true or false")
	}
	return f, nil
}

func (f *JobFilter) add(name, value string) error {
	switch value {
	case "", backupFull: // every job is of this kind
	case "SNAPSHOT", "SNAPSHOT_DR":
		f.None = true
	case string(holdfast.JobBackup), string(holdfast.JobRestore):
		if len(f.Types) > 0 && f.Types[0] != holdfast.JobType(value) {
			return holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s has two values, %q and %q", name, f.Types[0], value).
				WithHint("leave it out for both")
		}
		f.Types = []holdfast.JobType{holdfast.JobType(value)}
	default:
		return holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s is %q", name, value).
			WithHint("use BACKUP, RESTORE, FULL, SNAPSHOT or SNAPSHOT_DR")
	}
	return nil
}

// RunType reads the run type of a request to execute a job, from its body and
// its query.
func (q Query) RunType(in Tree) (holdfast.RunType, error) {
	var given holdfast.RunType
	words := q.values["run_type"]
	words = append(slices.Clip(words), q.values["run-type"]...)
	words = append(words, q.values["runType"]...)
	r := reader{}
	top := r.object("", map[string]any(in))
	for _, key := range []string{"run_type", "run-type", "runType"} {
		if s := r.text(top, key); s != nil {
			words = append(words, *s)
		}
	}
	if r.err != nil {
		return "", r.err
	}
	for _, w := range words {
		if strings.TrimSpace(w) == "" {
			continue
		}
		t, err := holdfast.ParseRunType(w)
		if err != nil {
			return "", err
		}
		if given != "" && given != t {
			return "", holdfast.Errorf(holdfast.CodeInvalid, "the request names two run types, %s and %s", given, t).
				WithHint("give run_type once, in the body or in the query")
		}
		given = t
	}
	if given == "" {
		given = holdfast.RunFull
	}
	return given, nil
}

// Flag reads a parameter that is true or false; absent is false.
func (q Query) Flag(names ...string) (bool, error) {
	v, _, err := q.one(names...)
	if err != nil {
		return false, err
	}
	switch strings.ToLower(v) {
	case "", "false", "0", "no":
		return false, nil
	case "true", "1", "yes":
		return true, nil
	}
	return false, holdfast.Errorf(holdfast.CodeInvalid, "the parameter %s is %q", names[0], v).WithHint("use true or false")
}
