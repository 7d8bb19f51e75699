package client

import (
	"context"
	"net/url"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// connectRepository is the body that holds secrets: a Secret itself prints as
// [redacted].
type connectRepository struct {
	newRepository
	Password string `json:"password"`
	FormatID string `json:"format_id,omitempty"`
}

// ConnectRepository has the server use a repository that exists.
func (c *Client) ConnectRepository(ctx context.Context, in native.ConnectRepository) (native.Repository, error) {
	out := connectRepository{newRepository: revealed(in.NewRepository), Password: in.Password.Reveal(), FormatID: in.FormatID}
	return call[native.Repository](ctx, c, post(out, "repositories", "connect"))
}

// ImportSets makes found sets known to the server.
func (c *Client) ImportSets(ctx context.Context, ref string, in native.ImportSets) ([]native.ImportedSet, error) {
	l, err := call[native.List[native.ImportedSet]](ctx, c, post(in, "repositories", ref, "import"))
	return l.Items, err
}

// RepositoryCopies lists copies that are recorded in a repository, behind the given one;
// none when there are no more.
func (c *Client) RepositoryCopies(ctx context.Context, ref string, after holdfast.CopyID) (native.RepositoryCopies, error) {
	r := get("repositories", ref, "copies")
	r.query = url.Values{"after": {id(after)}}
	return call[native.RepositoryCopies](ctx, c, r)
}

// ConfirmSet confirms an imported set.
func (c *Client) ConfirmSet(ctx context.Context, s holdfast.SetID) (native.Set, error) {
	return call[native.Set](ctx, c, post(nil, "sets", id(s), "confirm"))
}
