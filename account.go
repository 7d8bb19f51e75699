package holdfast

import "time"

// OrganisationID numbers organisations.
type OrganisationID int64

// AccountID numbers accounts.
type AccountID int64

// Organisation groups accounts.
type Organisation struct {
	ID      OrganisationID
	Name    string
	Created time.Time
}

// Account is a tenant: it owns everything below it. A fresh installation has one
// organisation and one account, both named "default" and numbered [FirstID].
type Account struct {
	ID           AccountID
	Organisation OrganisationID
	Name         string
	Aliases      []string // other names that people know it by; unique in the installation
	Created      time.Time
}
