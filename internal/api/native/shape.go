package native

import (
	"time"

	"github.com/holdfast-backup/holdfast/internal/store"
)

// List is the body of every list.
type List[T any] struct {
	Items []T `json:"items"`
	Total int `json:"total" doc:"How many there are without offset and limit"`
}

type listOutput[T any] struct {
	Body List[T]
}

type output[T any] struct {
	Body T
}

// created answers with the new thing and where it is.
type created[T any] struct {
	Location string `header:"Location"`
	Body     T
}

// listOf translates every element; total -1 means that these are all.
func listOf[A, B any](in []A, total int, translate func(A) B) *listOutput[B] {
	out := &listOutput[B]{Body: List[B]{Items: make([]B, 0, len(in)), Total: total}}
	if total < 0 {
		out.Body.Total = len(in)
	}
	for _, v := range in {
		out.Body.Items = append(out.Body.Items, translate(v))
	}
	return out
}

type none struct{}

// Page is the part of a list that a request asks for.
type Page struct {
	Offset int `query:"offset" minimum:"0" maximum:"1000000000" doc:"How many to leave out at the start"`
	Limit  int `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many to return at most"`
}

func (p Page) store() store.Page { return store.Page{Offset: p.Offset, Limit: p.Limit} }

func utc(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{} // so that it is left out
	}
	return t.UTC()
}
