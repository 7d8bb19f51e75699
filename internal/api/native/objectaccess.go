package native

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
)

// NewObjectAccess says who the service is at an object store, and how its objects
// are kept there.
type NewObjectAccess struct {
	AccessKey    string          `json:"access_key" maxLength:"512"`
	SecretKey    holdfast.Secret `json:"secret_key" doc:"Stored sealed, never shown"`
	SessionToken holdfast.Secret `json:"session_token,omitzero" doc:"Of temporary credentials; stored sealed, never shown"`

	Region         string `json:"region,omitempty" maxLength:"512" doc:"Left out: the store is asked"`
	PathStyle      bool   `json:"path_style,omitempty" doc:"The bucket stands in the path at Amazon's, too; elsewhere it always does"`
	CA             string `json:"ca,omitempty" maxLength:"32768" doc:"Certificates in PEM that the store's is checked with; left out: the system's"`
	StorageClass   string `json:"storage_class,omitempty" maxLength:"512" doc:"Of new objects; left out: the bucket's default"`
	Encryption     string `json:"encryption,omitempty" maxLength:"512" doc:"By the store: AES256, aws:kms, or aws:kms: and a key's id"`
	BytesPerSecond int64  `json:"bytes_per_second,omitempty" minimum:"0" doc:"That one execution reads and writes at most; 0: no limit"`
}

func (n NewObjectAccess) domain() holdfast.ObjectAccess {
	return holdfast.ObjectAccess{
		AccessKey: n.AccessKey, SecretKey: n.SecretKey, SessionToken: n.SessionToken, Region: n.Region, PathStyle: n.PathStyle, CA: n.CA,
		StorageClass: n.StorageClass, Encryption: n.Encryption, BytesPerSec: n.BytesPerSecond,
	}
}

// ObjectAccess is an access without its secrets.
type ObjectAccess struct {
	AccessKey       string `json:"access_key"`
	HasSessionToken bool   `json:"has_session_token"`
	Region          string `json:"region,omitempty"`
	PathStyle       bool   `json:"path_style"`
	CA              string `json:"ca,omitempty"`
	StorageClass    string `json:"storage_class,omitempty"`
	Encryption      string `json:"encryption,omitempty"`
	BytesPerSecond  int64  `json:"bytes_per_second"`
}

// ObjectAccessChange changes what it names and leaves the rest.
type ObjectAccessChange struct {
	AccessKey    *string         `json:"access_key,omitempty" maxLength:"512" doc:"Another one needs its secret_key beside it"`
	SecretKey    holdfast.Secret `json:"secret_key,omitzero" doc:"Left out: the old one stays"`
	SessionToken holdfast.Secret `json:"session_token,omitzero" doc:"Left out: the old one stays, unless the key or its secret changes"`

	Region         *string `json:"region,omitempty" maxLength:"512"`
	PathStyle      *bool   `json:"path_style,omitempty"`
	CA             *string `json:"ca,omitempty" maxLength:"32768"`
	StorageClass   *string `json:"storage_class,omitempty" maxLength:"512"`
	Encryption     *string `json:"encryption,omitempty" maxLength:"512"`
	BytesPerSecond *int64  `json:"bytes_per_second,omitempty" minimum:"0"`
}

func objectAccessOf(a holdfast.ObjectAccess, token bool) ObjectAccess {
	return ObjectAccess{
		AccessKey: a.AccessKey, HasSessionToken: token, Region: a.Region, PathStyle: a.PathStyle, CA: a.CA,
		StorageClass: a.StorageClass, Encryption: a.Encryption, BytesPerSecond: a.BytesPerSec,
	}
}

func (a *api) registerObjectAccess() {
	register(a, operation{
		id: "get-repository-access", method: http.MethodGet, path: "/repositories/{repository}/access", tag: "repositories",
		summary: "Say how a repository's object store is reached, without the secrets",
	},
		func(ctx context.Context, actor holdfast.Actor, in *RepositoryPath) (*output[ObjectAccess], error) {
			r, err := a.repository(ctx, actor, in.Repository)
			if err != nil {
				return nil, err
			}
			access, token, err := a.Service.RepositoryAccess(ctx, actor, r.ID)
			if err != nil {
				return nil, err
			}
			return &output[ObjectAccess]{Body: objectAccessOf(access, token)}, nil
		})
	register(a, operation{
		id: "update-repository-access", method: http.MethodPatch, path: "/repositories/{repository}/access", tag: "repositories",
		summary: "Change how a repository's object store is reached, once it has been opened that way", timeout: createTimeout,
	}, a.updateObjectAccess)
}

func (a *api) updateObjectAccess(ctx context.Context, actor holdfast.Actor, in *struct {
	RepositoryPath
	Body ObjectAccessChange
},
) (*output[ObjectAccess], error) {
	c := in.Body
	r, err := a.repository(ctx, actor, in.Repository)
	if err != nil {
		return nil, err
	}
	access, token, err := a.Service.SetRepositoryAccess(ctx, actor, r.ID, holdfast.ObjectAccessChange{
		AccessKey: c.AccessKey, SecretKey: c.SecretKey, SessionToken: c.SessionToken, Region: c.Region, PathStyle: c.PathStyle, CA: c.CA,
		StorageClass: c.StorageClass, Encryption: c.Encryption, BytesPerSec: c.BytesPerSecond,
	})
	if err != nil {
		return nil, err
	}
	return &output[ObjectAccess]{Body: objectAccessOf(access, token)}, nil
}
