package bmcetl

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"sync"

	"github.com/holdfast-backup/holdfast"
)

func (h *handler) list(ctx context.Context, c *call) error {
	q, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the query of the URL is malformed").
			WithHint("separate parameters with & and encode special characters with %%")
	}
	page, size, paged, err := readPage(q)
	if err != nil {
		return err
	}
	f, err := h.filter(c, q)
	if err != nil {
		return err
	}
	if err := f.mayAsk(c.actor.Credential.Role); err != nil {
		return err
	}
	jobs, err := h.selected(ctx, c.actor, f)
	if err != nil {
		return err
	}
	if paged {
		jobs = pageOf(jobs, page, size)
	}
	write(c.w, http.StatusOK, jsonType, h.lists.text(c.actor.Principal.Account, jobs))
	return nil
}

// listTexts keeps the newest long list of an account as it is sent: ten thousand ETLs
// are more than a megabyte, and are asked for more often than they change.
type listTexts struct {
	mu   sync.Mutex // guards the field below
	kept map[holdfast.AccountID]listText
}

type listText struct {
	jobs []holdfast.Job
	text []byte
}

// Bounds of what is kept.
const (
	longList  = 100 // ETLs
	keptLists = 16
)

// text returns the list of these ETLs. A list that the service hands out is never
// changed, and another one lies elsewhere.
func (l *listTexts) text(a holdfast.AccountID, jobs []holdfast.Job) []byte {
	if len(jobs) < longList {
		return listJSON(jobs)
	}
	l.mu.Lock()
	kept := l.kept[a]
	l.mu.Unlock()
	if len(kept.jobs) == len(jobs) && &kept.jobs[0] == &jobs[0] {
		return kept.text
	}
	kept = listText{jobs, listJSON(jobs)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil || len(l.kept) >= keptLists {
		l.kept = map[holdfast.AccountID]listText{}
	}
	l.kept[a] = kept
	return kept.text
}

// listJSON writes the list. It is all that there is, for clients that know no
// pages: through encoding/json ten thousand ETLs took several times as long.
func listJSON(jobs []holdfast.Job) []byte {
	b := make([]byte, 0, listedSize*len(jobs)+2)
	b = append(b, '[')
	for i, j := range jobs {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = appendText(b, j.Name)
		b = append(b, `,"etl_id":`...)
		b = strconv.AppendInt(b, int64(j.ID), 10)
		b = append(b, `,"run_configurations":[`...)
		for k, c := range j.ETL.Configurations {
			if k > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"name":`...)
			b = appendText(b, c.Name)
			b = append(b, `,"active":`...)
			b = strconv.AppendBool(b, c.Active)
			b = append(b, `,"run_configuration_id":`...)
			b = strconv.AppendInt(b, int64(c.ID), 10)
			b = append(b, '}')
		}
		b = append(b, `],"type":"`...)
		b = append(b, typeName(j.ETL.Service)...)
		b = append(b, `"}`...)
	}
	return append(b, ']')
}

// listedSize is about the length of one ETL in the list.
const listedSize = 160 // bytes

// appendText writes a string. Plain ones are written as they are.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return append(b, quote(s)...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
