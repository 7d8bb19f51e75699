package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// User is a person of the account.
type User struct {
	ID          holdfast.PrincipalID `json:"id"`
	Name        string               `json:"name"`
	Role        holdfast.Role        `json:"role" enum:"reader,operator,admin"`
	Sites       []string             `json:"sites,omitempty" doc:"Slugs of the sites that the user sees; left out: every site"`
	SiteIDs     []holdfast.SiteID    `json:"site_ids,omitempty"`
	HasPassword bool                 `json:"has_password" doc:"Without one the user cannot log in, but may have keys and tokens"`
	Disabled    bool                 `json:"disabled"`
	Created     time.Time            `json:"created"`
	LastLogin   time.Time            `json:"last_login,omitzero" doc:"To the minute"`
}

// NewUser asks for a user.
type NewUser struct {
	Name     string          `json:"name" maxLength:"63"`
	Role     holdfast.Role   `json:"role" enum:"reader,operator,admin"`
	Sites    []string        `json:"sites,omitempty" doc:"Ids or slugs; left out: every site"`
	Password holdfast.Secret `json:"password,omitzero" doc:"At least 8 characters; left out: the user cannot log in"`
}

// NewPassword replaces a user's password.
type NewPassword struct {
	Password holdfast.Secret `json:"password,omitzero" doc:"Left out: the user cannot log in any more"`
}

func (n names) user(u service.User) User {
	return User{
		ID: u.ID, Name: u.Name, Role: u.Role, Sites: n.slugs(u.Sites), SiteIDs: u.Sites, HasPassword: u.HasPassword,
		Disabled: u.Disabled, Created: utc(u.Created), LastLogin: utc(u.LastLogin),
	}
}

// UserPath names a user in a path.
type UserPath struct {
	User string `path:"user" doc:"Id or name"`
}

func (a *api) registerUsers() {
	register(a, operation{id: "list-users", method: http.MethodGet, path: "/users", tag: "users", summary: "List users, disabled ones too"},
		func(ctx context.Context, actor holdfast.Actor, _ *none) (*listOutput[User], error) {
			all, err := a.Service.Users(ctx, actor)
			if err != nil {
				return nil, err
			}
			n, err := a.names(ctx, actor)
			if err != nil {
				return nil, err
			}
			return listOf(all, -1, n.user), nil
		})
	register(a, operation{id: "create-user", method: http.MethodPost, path: "/users", tag: "users", status: http.StatusCreated, summary: "Create a user"}, a.createUser)
	register(a, operation{
		id: "set-password", method: http.MethodPut, path: "/users/{user}/password", tag: "users",
		summary: "Set a user's password; sessions end, and so does a lock",
	}, func(ctx context.Context, actor holdfast.Actor, in *struct {
		UserPath
		Body NewPassword
	},
	) (*none, error) {
		u, err := a.user(ctx, actor, in.User)
		if err != nil {
			return nil, err
		}
		return &none{}, a.Service.SetPassword(ctx, actor, u.ID, in.Body.Password)
	})
	register(a, operation{
		id: "disable-user", method: http.MethodPost, path: "/users/{user}/disable", tag: "users",
		summary: "Refuse a user from now on: sessions end, keys and tokens rest",
	}, a.userCall(a.Service.DisableUser))
	register(a, operation{
		id: "enable-user", method: http.MethodPost, path: "/users/{user}/enable", tag: "users", summary: "Let a disabled or locked user in again",
	}, a.userCall(a.Service.EnableUser))
}

func (a *api) createUser(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewUser }) (*created[User], error) {
	sites, err := a.sites(ctx, actor, in.Body.Sites)
	if err != nil {
		return nil, err
	}
	u, err := a.Service.CreateUser(ctx, actor, service.NewUser{
		Name: in.Body.Name, Role: in.Body.Role, Sites: sites, Password: in.Body.Password,
	})
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &created[User]{Location: fmt.Sprintf("%s/users/%d", Root, u.ID), Body: n.user(u)}, nil
}

// userCall is a call about one user that answers with the user.
func (a *api) userCall(do func(context.Context, holdfast.Actor, holdfast.PrincipalID) (service.User, error)) func(
	context.Context, holdfast.Actor, *UserPath) (*output[User], error) {
	return func(ctx context.Context, actor holdfast.Actor, in *UserPath) (*output[User], error) {
		u, err := a.user(ctx, actor, in.User)
		if err != nil {
			return nil, err
		}
		if u, err = do(ctx, actor, u.ID); err != nil {
			return nil, err
		}
		n, err := a.names(ctx, actor)
		if err != nil {
			return nil, err
		}
		return &output[User]{Body: n.user(u)}, nil
	}
}

// user looks a user up by id or name.
func (a *api) user(ctx context.Context, actor holdfast.Actor, ref string) (service.User, error) {
	users, err := a.Service.Users(ctx, actor)
	if err != nil {
		return service.User{}, err
	}
	return find("user", ref, users, func(u service.User) (int64, string) { return int64(u.ID), u.Name })
}
