package holdfast

import (
	"slices"
	"time"
)

// PrincipalID numbers principals.
type PrincipalID int64

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
