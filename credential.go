package holdfast

import (
	"slices"
	"time"
)

// CredentialID numbers credentials.
type CredentialID int64

// CredentialKind is how a credential proves its principal.
type CredentialKind string

// The kinds of credential.
const (
	CredentialToken    CredentialKind = "TOKEN"    // bearer token; only its hash is stored
	CredentialJoin     CredentialKind = "JOIN"     // one-time token with which a worker joins
	CredentialPassword CredentialKind = "PASSWORD" // of a person; opens sessions
	CredentialSession  CredentialKind = "SESSION"  // opened by a password, which is its Parent
	CredentialKey      CredentialKind = "KEY"      // public key: proves who signed, and allows nothing alone
	CredentialPAT      CredentialKind = "PAT"      // personal access token: sent inside what a key of the same principal has signed
	// CredentialAccessKey is a public name and a secret, which together open a log-in
	// of a program.
	CredentialAccessKey CredentialKind = "ACCESS_KEY"
	// CredentialRefresh was given at such a log-in, and renews it; the access key is
	// its Parent.
	CredentialRefresh CredentialKind = "REFRESH"
)

// usedWithin is how exact Credential.LastUsed is.
const usedWithin = time.Minute

// Credential proves a principal. The secret itself is never stored.
type Credential struct {
	ID        CredentialID
	Account   AccountID
	Principal PrincipalID
	Kind      CredentialKind
	Name      string
	// Hash is SHA-256 of a secret of 256 random bits; the encoded salted hash of a
	// password; SHA-256 of a public key together with its principal's id, or of both
	// halves of an access key.
	Hash      []byte
	PublicKey []byte       // PKIX, DER, of CredentialKey; the public half of CredentialAccessKey, as text
	Parent    CredentialID // of CredentialSession and CredentialRefresh: ends with it
	Role      Role
	Sites     []SiteID // empty: every site of the account
	Hosts     []HostID // for CredentialJoin: the hosts the new worker stands on
	Pools     []string // for CredentialJoin: the pools it serves
	Created   time.Time
	Expires   time.Time     // zero: never
	Idle      time.Duration // without use, after which it ends; 0: never
	Revoked   time.Time     // zero: not revoked
	LastUsed  time.Time     // zero: never; cut to the minute
}

// Valid reports whether the credential may be used at now.
func (c Credential) Valid(now time.Time) bool {
	if !c.Revoked.IsZero() || !c.Expires.IsZero() && !now.Before(c.Expires) {
		return false
	}
	return c.Idle == 0 || now.Before(c.IdleEnd())
}

// IdleEnd is when the credential ends unless it is used before; zero: never. It
// is never before Idle has passed since the last use, and at most a minute after:
// a last use of 10:00 may have been at 10:00:59.
func (c Credential) IdleEnd() time.Time {
	if c.Idle == 0 {
		return time.Time{}
	}
	used := c.Created
	if until := c.LastUsed.Add(usedWithin); !c.LastUsed.IsZero() && until.After(used) {
		used = until
	}
	return used.Add(c.Idle)
}

// Covers reports whether the credential's scope holds the site.
func (c Credential) Covers(site SiteID) bool {
	return len(c.Sites) == 0 || slices.Contains(c.Sites, site)
}
