package commvault

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func (h *handler) instanceRoutes(add, _ adder) {
	add(http.MethodGet, "Instance", h.instances)
	add(http.MethodGet, "Instance/{id}", h.instance)
	add(http.MethodPost, "Instance", notCreated("an instance", "holdfast site add"))
	add(http.MethodPost, "Instance/{id}", notChanged("an instance", "holdfast site update"))
	add(http.MethodDelete, "Instance/{id}", notChanged("an instance", "holdfast site remove"))
}

type instanceShape struct {
	Entity     entity        `json:"instance"`
	Activity   struct{}      `json:"instanceActivityControl"`
	Version    *string       `json:"version,omitempty"`            // nil in lists; empty: not known
	PostgreSQL *postgreShape `json:"postGreSQLInstance,omitempty"` // so spelled
}

// postgreShape is how to reach a server. Its directories of programs and of
// archived WAL are nothing that we know or need; passwords are never shown.
type postgreShape struct {
	Binary    string     `json:"BinaryDirectory"`
	Lib       string     `json:"LibDirectory"`
	Archive   string     `json:"ArchiveLogDirectory"`
	Port      string     `json:"port"`
	Database  string     `json:"MaintainenceDB"` // so spelled
	User      userShape  `json:"SAUser"`
	LogPolicy policyName `json:"logStoragePolicy"`
	Delete    bool       `json:"ArchiveDelete"`
	Standby   struct {
		Enabled bool `json:"isStandbyEnabled"`
	} `json:"standbyOptions"`
	SSL struct {
		Enabled bool `json:"sslEnabled"`
	} `json:"sslOpt"`
}

type userShape struct {
	Name string `json:"userName"`
}

// policyName names a storage policy: a repository.
type policyName struct {
	Name string `json:"storagePolicyName"`
	ID   int64  `json:"storagePolicyId,omitempty"`
}

func (h *handler) instances(ctx context.Context, c call) (any, error) {
	f, err := readFilter(c)
	if err != nil {
		return nil, err
	}
	page, err := readPage(c, 0)
	if err != nil {
		return nil, err
	}
	v, err := h.viewFor(ctx, c.actor, f)
	if err != nil {
		return nil, err
	}
	list := []instanceShape{}
	for _, site := range part(v.instances(f), page) {
		list = append(list, instanceShape{Entity: v.instance(site.ID)})
	}
	return map[string][]instanceShape{"instanceProperties": list}, nil
}

func (h *handler) instance(ctx context.Context, c call) (any, error) {
	id, err := c.id("instance")
	if err != nil {
		return nil, err
	}
	f, err := readFilter(c)
	if err != nil {
		return nil, err
	}
	f.ids[levelInstance] = &id
	v, err := h.viewFor(ctx, c.actor, f)
	if err != nil {
		return nil, err
	}
	sites := v.instances(f)
	if len(sites) == 0 {
		return nil, unknown("instance", id)
	}
	site := sites[0]
	policy, err := h.policy(ctx, c.actor, site.Repository)
	if err != nil {
		return nil, err
	}
	version, err := h.version(ctx, c.actor, site.ID)
	if err != nil {
		return nil, err
	}
	s := instanceShape{Entity: v.instance(site.ID), Version: &version, PostgreSQL: &postgreShape{
		Port: strconv.Itoa(int(site.Server.Port)), Database: site.Server.Database, User: userShape{site.Server.User}, LogPolicy: policy,
	}}
	switch site.Server.SSLMode {
	case "require", "verify-ca", "verify-full":
		s.PostgreSQL.SSL.Enabled = true
	}
	return map[string][]instanceShape{"instanceProperties": {s}}, nil
}

// version is PostgreSQL's, as the newest backup set of the site knows it.
func (h *handler) version(ctx context.Context, actor holdfast.Actor, site holdfast.SiteID) (string, error) {
	sets, _, err := h.Service.Sets(ctx, actor, store.SetFilter{Sites: []holdfast.SiteID{site}, Page: store.Page{Limit: 1}})
	if err != nil || len(sets) == 0 || sets[0].Physical.Version == 0 {
		return "", err
	}
	n := sets[0].Physical.Version
	return fmt.Sprintf("%d.%d", n/10000, n%10000), nil
}

// policy names a repository; none has no name.
func (h *handler) policy(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) (policyName, error) {
	if id == 0 {
		return policyName{}, nil
	}
	repo, err := h.Service.Repository(ctx, actor, id)
	return policyName{repo.Name, int64(repo.ID)}, err
}

// notCreated answers to a request to make what is made elsewhere: in the shape
// of the documented answer, where response is an object.
func notCreated(what, command string) endpoint {
	return func(context.Context, call) (any, error) {
		text := fmt.Sprintf("%s is not made through this API: use %s", what, command)
		return nil, &Failure{
			Status: http.StatusMethodNotAllowed, Code: codeNotOffered, Message: text, Allow: []string{http.MethodGet, http.MethodHead},
			Response: responseShape{Code: codeNotOffered, Text: text},
		}
	}
}

// notChanged is notCreated for a request to change or delete, where response is
// an array.
func notChanged(what, command string) endpoint {
	return func(context.Context, call) (any, error) {
		text := fmt.Sprintf("%s is not changed through this API: use %s", what, command)
		return nil, &Failure{
			Status: http.StatusMethodNotAllowed, Code: codeNotOffered, Message: text, Allow: []string{http.MethodGet, http.MethodHead},
			Response: []responseShape{{Code: codeNotOffered, Text: text}},
		}
	}
}

// responseShape is the outcome of a change.
type responseShape struct {
	Code int64  `json:"errorCode"`
	Text string `json:"errorString"`
}
