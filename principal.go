package holdfast

import (
	"slices"
	"time"
)

// PrincipalID numbers principals.
type PrincipalID int64

// CredentialID numbers credentials.
type CredentialID int64

// PrincipalKind tells a person from a program.
type PrincipalKind string

// The kinds of principal.
const (
	PrincipalPerson  PrincipalKind = "PERSON"
	PrincipalService PrincipalKind = "SERVICE"
)

// Principal is who acts.
type Principal struct {
	ID       PrincipalID
	Account  AccountID
	Kind     PrincipalKind
	Name     string // unique in the account
	Disabled bool
	Created  time.Time
}

// CredentialKind is how a credential proves its principal.
type CredentialKind string

// The kinds of credential.
const (
	CredentialToken CredentialKind = "TOKEN" // bearer token; only its hash is stored
	CredentialJoin  CredentialKind = "JOIN"  // one-time token with which a worker joins
)

// Role is what a credential may do at all; its scope says where.
type Role string

// The roles; each may do what the one before it may.
const (
	RoleReader   Role = "reader"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// Roles lists the roles from the weakest to the strongest.
func Roles() []Role { return []Role{RoleReader, RoleOperator, RoleAdmin} }

// Includes reports whether r may do what other may. An unknown role includes
// nothing and is included in nothing.
func (r Role) Includes(other Role) bool {
	a, b := slices.Index(Roles(), r), slices.Index(Roles(), other)
	return b >= 0 && a >= b
}

// Credential proves a principal. The secret itself is never stored.
type Credential struct {
	ID        CredentialID
	Account   AccountID
	Principal PrincipalID
	Kind      CredentialKind
	Name      string
	Hash      []byte // SHA-256 of the secret part, which is 256 random bits
	Role      Role
	Sites     []SiteID // empty: every site of the account
	Hosts     []HostID // for CredentialJoin: the hosts the new worker stands on
	Pools     []string // for CredentialJoin: the pools it serves
	Created   time.Time
	Expires   time.Time // zero: never
	Revoked   time.Time // zero: not revoked
	LastUsed  time.Time // zero: never; kept to the minute
}

// Valid reports whether the credential may be used at now.
func (c Credential) Valid(now time.Time) bool {
	return c.Revoked.IsZero() && (c.Expires.IsZero() || now.Before(c.Expires))
}

// Covers reports whether the credential's scope holds the site.
func (c Credential) Covers(site SiteID) bool {
	return len(c.Sites) == 0 || slices.Contains(c.Sites, site)
}
