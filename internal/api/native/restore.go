package native

import (
	"context"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// NewRestore asks for a backup set to be written to a directory, or into the place
// of a site's server.
type NewRestore struct {
	Set           holdfast.SetID    `json:"set" minimum:"1"`
	Host          string            `json:"host,omitempty" doc:"Id or name of the host whose worker writes; left out: the site's"`
	Directory     string            `json:"directory,omitempty" maxLength:"4096" doc:"The new data directory: absolute, below a directory that the worker allows, empty or missing unless delta is true. Needed unless in_place is true"`
	InPlace       bool              `json:"in_place,omitempty" doc:"Restore into the data directory of a site whose server is stopped. What is there, tablespaces too, is moved aside and kept"`
	Site          string            `json:"site,omitempty" doc:"With in_place: id or slug of the site; left out: the one that the set is of"`
	Tablespaces   map[string]string `json:"tablespaces,omitempty" doc:"Directory by the tablespace's OID"`
	Configuration bool              `json:"configuration,omitempty" doc:"Put files that the source kept outside its data directory into the new one"`
	Delta         bool              `json:"delta,omitempty" doc:"Write over a stopped copy of the same cluster: only what differs is written, what is not in the set is removed, and nothing is kept. Not with in_place"`
	Repository    string            `json:"repository,omitempty" doc:"Id or name of the repository whose copy is read; left out: wherever the best copy is"`
	Name          string            `json:"name,omitempty" maxLength:"128" doc:"Of the restore job; left out: made up"`
}

type restoreInput struct {
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"The same key gives the same execution"`
	Body NewRestore
}

func (a *api) restore(ctx context.Context, actor holdfast.Actor, in *restoreInput) (*created[Execution], error) {
	b := in.Body
	spec := holdfast.RestoreSpec{Set: b.Set, Directory: b.Directory, Configuration: b.Configuration, Delta: b.Delta}
	if err := a.place(ctx, actor, b, &spec); err != nil {
		return nil, err
	}
	if b.Host != "" {
		h, err := a.host(ctx, actor, b.Host)
		if err != nil {
			return nil, err
		}
		spec.Host = h.ID
	}
	if b.Repository != "" {
		r, err := a.repository(ctx, actor, b.Repository)
		if err != nil {
			return nil, err
		}
		spec.Repository = r.ID
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

// place fills the site of a restore in place.
func (a *api) place(ctx context.Context, actor holdfast.Actor, b NewRestore, spec *holdfast.RestoreSpec) error {
	switch {
	case !b.InPlace && b.Site != "":
		return holdfast.Errorf(holdfast.CodeInvalid, "a site is named, and the restore is not in place").
			WithHint("set in_place to restore into the site's data directory, or leave the site out")
	case !b.InPlace && b.Directory == "":
		return holdfast.Errorf(holdfast.CodeInvalid, "the directory is missing").WithHint("name one that is empty or missing, or set in_place")
	case !b.InPlace:
		return nil
	case b.Site != "":
		s, err := a.site(ctx, actor, b.Site)
		spec.Site = s.ID
		return err
	}
	set, err := a.Service.Set(ctx, actor, b.Set)
	spec.Site = set.Site
	return err
}
