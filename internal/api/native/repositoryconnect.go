package native

import (
	"context"
	"fmt"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// ConnectRepository asks for a repository that exists to be used here.
type ConnectRepository struct {
	NewRepository
	Password holdfast.Secret `json:"password" doc:"That opens it, as a recovery kit has one; not stored: the service makes a key of its own"`
	FormatID string          `json:"format_id,omitempty" maxLength:"64" doc:"The id that the repository must have; left out: any"`
}

func (a *api) registerConnect() {
	register(a, operation{
		id: "connect-repository", method: http.MethodPost, path: "/repositories/connect", tag: "repositories", status: http.StatusCreated,
		summary: "Use a repository that exists; its sets are not known before they are imported", timeout: createTimeout,
	}, a.connectRepository)
}

func (a *api) connectRepository(ctx context.Context, actor holdfast.Actor, in *struct{ Body ConnectRepository }) (*created[Repository], error) {
	ask := service.ConnectRepository{
		NewRepository: service.NewRepository{Name: in.Body.Name, Location: in.Body.Location}, Password: in.Body.Password, FormatID: in.Body.FormatID,
	}
	if in.Body.Access != nil {
		ask.Access = in.Body.Access.domain()
	}
	r, err := a.Service.ConnectRepository(ctx, actor, ask)
	if err != nil {
		return nil, err
	}
	return &created[Repository]{Location: fmt.Sprintf("%s/repositories/%d", Root, r.ID), Body: repositoryOf(r)}, nil
}
