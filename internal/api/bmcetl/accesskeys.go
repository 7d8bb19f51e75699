package bmcetl

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// keyPage is a page of access keys.
type keyPage struct {
	Records  []keyRecord `json:"records"`
	Metadata keyMetadata `json:"_metadata"`
}

type keyMetadata struct {
	Page    int `json:"page"` // from 0
	PerPage int `json:"records_per_page"`
}

// keyRecord is one access key, without its secret half.
type keyRecord struct {
	User         string  `json:"user_id"`
	Name         string  `json:"name"`
	Description  string  `json:"description"`
	Type         string  `json:"type"`
	AccessKey    string  `json:"access_key"`
	Status       string  `json:"status"`
	Created      *string `json:"created_date"`
	Expires      *string `json:"expiry_time"`
	Expiry       string  `json:"expiry_enum"`
	Expired      bool    `json:"key_expired"`
	NonDeletable bool    `json:"non_deletable"`
	Rotation     *string `json:"rotation"` // there is none
}

// The words of a record.
const (
	keyAPI      = "API"
	keyActive   = "ACTIVE"
	keyInactive = "INACTIVE"
	keyForever  = "Never expires"
)

func keyOf(k service.UserKey, now time.Time) keyRecord {
	out := keyRecord{
		User: k.User, Name: k.Name, Type: keyAPI, AccessKey: string(k.PublicKey), Status: keyActive, Created: timestamp(k.Created),
		Expires: timestamp(k.Expires), Expiry: keyForever,
	}
	if !k.Expires.IsZero() {
		out.Expiry = fmt.Sprintf("%d days", int64(k.Expires.Sub(k.Created).Round(24*time.Hour)/(24*time.Hour)))
		out.Expired = !now.Before(k.Expires)
	}
	if !k.Valid(now) {
		out.Status = keyInactive
	}
	return out
}

// orders are what the list may be ordered by.
func orders() map[string]func(a, b keyRecord) int {
	by := func(field func(keyRecord) string) func(a, b keyRecord) int {
		return func(a, b keyRecord) int { return strings.Compare(field(a), field(b)) }
	}
	return map[string]func(a, b keyRecord) int{
		"":                  func(keyRecord, keyRecord) int { return 0 }, // as they were made
		"created_date_time": func(keyRecord, keyRecord) int { return 0 },
		"user_id":           by(func(k keyRecord) string { return k.User }),
		"name":              by(func(k keyRecord) string { return k.Name }),
		"description":       by(func(k keyRecord) string { return k.Description }),
		"access_key":        by(func(k keyRecord) string { return k.AccessKey }),
		"status":            by(func(k keyRecord) string { return k.Status }),
		"expiry_enum":       by(func(k keyRecord) string { return k.Expiry }),
	}
}

// accessKeys lists the access keys of the account.
func (h *handler) accessKeys(ctx context.Context, c *call) error {
	q, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the query of the URL is malformed").WithHint("separate parameters with &")
	}
	page, size, paged, err := readPage(q)
	if err != nil {
		return err
	}
	if !paged {
		size = defaultSize
	}
	order, ok := orders()[q.Get("orderBy")]
	if !ok {
		return holdfast.Errorf(holdfast.CodeInvalid, "the list is not ordered by %q", clip(q.Get("orderBy"))).
			WithHint("use created_date_time, user_id, name, description, access_key, status or expiry_enum")
	}
	keys, err := h.Service.AccessKeys(ctx, c.actor)
	if err != nil {
		return err
	}
	now := h.Now()
	records := make([]keyRecord, len(keys))
	for i, k := range keys {
		records[i] = keyOf(k, now)
	}
	slices.SortStableFunc(records, order)
	if strings.EqualFold(q.Get("sortOrder"), "desc") {
		slices.Reverse(records)
	}
	writeJSON(c.w, http.StatusOK, keyPage{Records: pageOf(records, page, size), Metadata: keyMetadata{Page: page, PerPage: size}})
	return nil
}
