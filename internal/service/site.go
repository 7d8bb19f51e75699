package service

import "github.com/holdfast-backup/holdfast"

// NewSite is a site with its password in the clear. Site.Password is ignored.
type NewSite struct {
	Site     holdfast.Site
	Password holdfast.Secret // of Site.Server.User; in an update, zero keeps the old one
	// NoPassword makes an update forget the password.
	NoPassword bool
}
