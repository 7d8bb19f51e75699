package native

import (
	"context"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// NewRestore asks for a backup set to be written to a directory.
type NewRestore struct {
	Set           holdfast.SetID    `json:"set" minimum:"1"`
	Host          string            `json:"host,omitempty" doc:"Id or name of the host whose worker writes; left out: the site's"`
	Directory     string            `json:"directory" maxLength:"4096" doc:"The new data directory: absolute, below a directory that the worker allows, empty or missing"`
	Tablespaces   map[string]string `json:"tablespaces,omitempty" doc:"Directory by the tablespace's OID"`
	Configuration bool              `json:"configuration,omitempty" doc:"Put files that the source kept outside its data directory into the new one"`
	Name          string            `json:"name,omitempty" maxLength:"128" doc:"Of the restore job; left out: made up"`
}

type restoreInput struct {
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"The same key gives the same execution"`
	Body NewRestore
}

func (a *api) restore(ctx context.Context, actor holdfast.Actor, in *restoreInput) (*created[Execution], error) {
	b := in.Body
	spec := holdfast.RestoreSpec{Set: b.Set, Directory: b.Directory, Configuration: b.Configuration}
	if b.Host != "" {
		h, err := a.host(ctx, actor, b.Host)
		if err != nil {
			return nil, err
		}
		spec.Host = h.ID
	}
	for key, dir := range b.Tablespaces {
		oid, err := strconv.ParseUint(key, 10, 32)
		if err != nil || oid == 0 {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "%q is not the OID of a tablespace", key).
				WithHint("holdfast set show %d lists the tablespaces of the set", b.Set)
		}
		if spec.Tablespaces == nil {
			spec.Tablespaces = map[uint32]string{}
		}
		spec.Tablespaces[uint32(oid)] = dir
	}
	e, err := a.Service.Restore(ctx, actor, service.NewRestore{Spec: spec, Name: b.Name, IdempotencyKey: in.Key})
	if err != nil {
		return nil, err
	}
	return a.accepted(ctx, actor, e)
}
