package holdfast

import (
	"encoding/json"
	"time"
)

// EventID numbers events.
type EventID int64

// Event is one line of the append-only history: who did what to which thing.
type Event struct {
	ID      EventID
	Account AccountID
	Time    time.Time
	Actor   string // "token nightly", "user ada", "worker local", "scheduler"
	Dialect string // which API it came through; empty: none
	Subject string // "execution 1001"
	Site    SiteID // whose history it belongs to; zero: the account's
	Kind    string // "execution.queued"
	Data    json.RawMessage
}

// SubmissionID numbers submissions.
type SubmissionID int64

// Submission is one request that made one or several executions, in one
// transaction. It is kept without secrets.
type Submission struct {
	ID             SubmissionID
	Account        AccountID
	Principal      PrincipalID
	Dialect        string
	IdempotencyKey string          // unique in the account when not empty
	Request        json.RawMessage // as it came, without its secrets; nil: not kept
	Time           time.Time
}

// Actor is a principal together with the credential it came with.
type Actor struct {
	Principal  Principal
	Credential Credential
	Dialect    string // which API it came through
}

// String names the actor for events and logs.
func (a Actor) String() string {
	switch c := a.Credential; {
	case c.Kind == CredentialSession, c.Kind == CredentialPAT, c.Kind == CredentialAccessKey:
		return "user " + a.Principal.Name
	case c.Name != "":
		return "token " + c.Name
	}
	return a.Principal.Name
}
