package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// createTimeout is how long making a repository may take: on a slow disk.
const createTimeout = 135 * time.Second

// Repository is where backup sets live.
type Repository struct {
	ID         holdfast.RepositoryID `json:"id"`
	Name       string                `json:"name"`
	Location   string                `json:"location" doc:"file:///absolute/path, or s3:https://host/bucket/prefix"`
	FormatID   string                `json:"format_id" doc:"The id in the repository itself"`
	MaxRunning int                   `json:"max_running" doc:"Executions at once; 0: no limit"`
	Created    time.Time             `json:"created"`
}

// NewRepository asks for a repository.
type NewRepository struct {
	Name     string `json:"name" maxLength:"63"`
	Location string `json:"location" maxLength:"4096" doc:"file:///absolute/path, or s3:https://host/bucket/prefix"`
	// Access is for an object store; its bucket must honour If-None-Match.
	Access *NewObjectAccess `json:"access,omitempty" doc:"Needed for an object store, and for nothing else"`
}

// CreatedRepository is a new repository and its recovery kit.
type CreatedRepository struct {
	Repository
	Kit Kit `json:"kit" doc:"Shown this once: keep it away from this machine"`
}

// Kit is what the text of a recovery kit is made of: with it alone the backup
// sets can be restored.
type Kit struct {
	Location string `json:"location"`
	FormatID string `json:"format_id"`
	Password string `json:"password"`
	Access   string `json:"access,omitempty" doc:"How an object store is reached, in words"`
	CA       string `json:"ca,omitempty" doc:"Certificates of the object store in PEM"`
}

func repositoryOf(r holdfast.Repository) Repository {
	return Repository{ID: r.ID, Name: r.Name, Location: r.Location, FormatID: r.FormatID, MaxRunning: r.MaxRunning, Created: utc(r.Created)}
}

// RepositoryPath names a repository in a path.
type RepositoryPath struct {
	Repository string `path:"repository" doc:"Id or name"`
}

func (a *api) registerRepositories() {
	register(a, operation{id: "list-repositories", method: http.MethodGet, path: "/repositories", tag: "repositories", summary: "List repositories"},
		func(ctx context.Context, actor holdfast.Actor, _ *none) (*listOutput[Repository], error) {
			all, err := a.Service.Repositories(ctx, actor)
			if err != nil {
				return nil, err
			}
			return listOf(all, -1, repositoryOf), nil
		})
	register(a, operation{
		id: "create-repository", method: http.MethodPost, path: "/repositories", tag: "repositories", status: http.StatusCreated,
		summary: "Create a repository; the recovery kit is in this answer and nowhere else", timeout: createTimeout,
	},
		func(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewRepository }) (*created[CreatedRepository], error) {
			ask := service.NewRepository{Name: in.Body.Name, Location: in.Body.Location}
			if in.Body.Access != nil {
				ask.Access = in.Body.Access.domain()
			}
			r, kit, err := a.Service.CreateRepository(ctx, actor, ask)
			if err != nil {
				return nil, err
			}
			return &created[CreatedRepository]{
				Location: fmt.Sprintf("%s/repositories/%d", Root, r.ID),
				Body: CreatedRepository{
					Repository: repositoryOf(r),
					Kit:        Kit{Location: kit.Location, FormatID: kit.FormatID, Password: kit.Password.Reveal(), Access: kit.Access, CA: kit.CA},
				},
			}, nil
		})
	register(a, operation{id: "get-repository", method: http.MethodGet, path: "/repositories/{repository}", tag: "repositories", summary: "Get a repository"},
		func(ctx context.Context, actor holdfast.Actor, in *RepositoryPath) (*output[Repository], error) {
			r, err := a.repository(ctx, actor, in.Repository)
			if err != nil {
				return nil, err
			}
			return &output[Repository]{Body: repositoryOf(r)}, nil
		})
	a.registerObjectAccess()
	register(a, operation{
		id: "rekey-repository", method: http.MethodPost, path: "/repositories/{repository}/password", tag: "repositories",
		summary: "Give the service another password for a repository, and take the old one's key away", timeout: createTimeout,
	},
		func(ctx context.Context, actor holdfast.Actor, in *RepositoryPath) (*none, error) {
			r, err := a.repository(ctx, actor, in.Repository)
			if err != nil {
				return nil, err
			}
			return &none{}, a.Service.RekeyRepository(ctx, actor, r.ID)
		})
	register(a, operation{
		id: "delete-repository", method: http.MethodDelete, path: "/repositories/{repository}", tag: "repositories",
		summary: "Forget a repository that neither a site nor a backup set uses; its files stay",
	},
		func(ctx context.Context, actor holdfast.Actor, in *RepositoryPath) (*none, error) {
			r, err := a.repository(ctx, actor, in.Repository)
			if err != nil {
				return nil, err
			}
			return &none{}, a.Service.DeleteRepository(ctx, actor, r.ID)
		})
}
