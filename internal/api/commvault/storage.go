package commvault

import (
	"context"
	"net/http"
)

func (h *handler) storageRoutes(add, _ adder) {
	add(http.MethodGet, "StoragePolicy", h.policies)
	add(http.MethodGet, "CommCell/Credentials", h.credentials)
	add(http.MethodPost, "V4/Credential", notCreated("a credential", "holdfast site update"))
}

// policies lists the storage policies: the repositories.
func (h *handler) policies(ctx context.Context, c call) (any, error) {
	page, err := readPage(c, 0)
	if err != nil {
		return nil, err
	}
	repositories, err := h.Service.Repositories(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	list := []policyName{}
	for _, r := range part(repositories, page) {
		list = append(list, policyName{r.Name, int64(r.ID)})
	}
	return map[string][]policyName{"policies": list}, nil
}

// credentials lists the named credentials, of which there are none: each site
// has a user and a password of its own.
func (h *handler) credentials(context.Context, call) (any, error) {
	return map[string][]struct{}{"credentialRecordInfo": {}}, nil
}
