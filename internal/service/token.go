package service

import (
	"time"

	"github.com/holdfast-backup/holdfast"
)

// NewToken asks for a token.
type NewToken struct {
	Name    string // unique among the tokens that are in use
	Role    holdfast.Role
	Sites   []holdfast.SiteID // empty: every site of the account
	Expires time.Time         // zero: never
}
