package holdfast

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
)

// ObjectAccess says who we are at an object store, and how our objects are kept there.
// The zero value is for what needs none: a directory.
type ObjectAccess struct {
	AccessKey    string // the public half
	SecretKey    Secret
	SessionToken Secret // of temporary credentials; empty: they are not

	Region       string // empty: the store is asked
	PathStyle    bool   // the bucket stands in the path at Amazon's, too; elsewhere it always does
	CA           string // certificates in PEM that the store's is checked with; empty: the system's
	StorageClass string // of new objects; empty: the bucket's default
	Encryption   string // by the store: "", "AES256", "aws:kms", or "aws:kms:" and a key's id
	BytesPerSec  int64  // that one execution reads and writes at most; 0: no limit
}

// MaxAccessCA is the largest certificates of an access, in bytes: some twenty of them
// fit, and the whole into a request.
const MaxAccessCA = 32 << 10

const (
	maxAccessWord  = 512
	maxAccessToken = 8 << 10
)

// accessWord matches what goes into a header of a request.
var accessWord = regexp.MustCompile(`^[!-~]*$`)

// IsZero reports whether there is no access.
func (a ObjectAccess) IsZero() bool { return a.AccessKey == "" }

// Validate checks what can be checked without the store.
func (a ObjectAccess) Validate() error {
	for what, v := range map[string]string{
		"access key": a.AccessKey, "secret key": a.SecretKey.Reveal(), "region": a.Region,
		"storage class": a.StorageClass, "encryption": a.Encryption,
	} {
		if len(v) > maxAccessWord || what != "secret key" && !accessWord.MatchString(v) || strings.ContainsAny(v, "\r\n\x00") {
			return Errorf(CodeInvalid, "the %s has a form that no object store knows", what).WithHint("give it without spaces, in at most %d bytes", maxAccessWord)
		}
	}
	switch {
	case a.AccessKey == "" || a.SecretKey.IsZero():
		return Errorf(CodeInvalid, "the access key for the object store, or its secret, is missing").
			WithHint("give both: --access-key ID, and the secret in a file with --secret-key-file")
	case len(a.SessionToken.Reveal()) > maxAccessToken || !accessWord.MatchString(a.SessionToken.Reveal()):
		return Errorf(CodeInvalid, "the session token has a form that no object store knows")
	case a.BytesPerSec < 0:
		return Errorf(CodeInvalid, "a limit of %d bytes a second is negative", a.BytesPerSec).WithHint("use 0 for no limit")
	case a.Encryption != "" && a.Encryption != "AES256" && a.Encryption != "aws:kms" && !strings.HasPrefix(a.Encryption, "aws:kms:"):
		return Errorf(CodeInvalid, "encryption %q by the object store is unknown", a.Encryption).
			WithHint("use AES256, aws:kms, or aws:kms: and a key's id")
	}
	return validCA(a.CA)
}

func validCA(text string) error {
	bad := Errorf(CodeInvalid, "the certificates for the object store are not certificates in PEM").
		WithHint("give a file with -----BEGIN CERTIFICATE----- in it, and without private keys, of at most %d bytes", MaxAccessCA)
	if len(text) > MaxAccessCA {
		return bad
	}
	// What stands between the blocks, as programs write it for people, is passed over.
	block, rest := pem.Decode([]byte(text))
	if block == nil && text != "" {
		return bad
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return bad
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return bad
		}
	}
	return nil
}

// accessJSON is an ObjectAccess in the clear; it exists only where it is sealed.
type accessJSON struct {
	AccessKey    string `json:"access_key"`
	SecretKey    string `json:"secret_key"`
	SessionToken string `json:"session_token,omitempty"`
	Region       string `json:"region,omitempty"`
	PathStyle    bool   `json:"path_style,omitempty"`
	CA           string `json:"ca,omitempty"`
	StorageClass string `json:"storage_class,omitempty"`
	Encryption   string `json:"encryption,omitempty"`
	BytesPerSec  int64  `json:"bytes_per_sec,omitempty"`
}

// Pack turns the access into one secret, which can be sealed; no access into an empty
// one.
func (a ObjectAccess) Pack() (Secret, error) {
	if a.IsZero() {
		return Secret{}, nil
	}
	b, err := json.Marshal(accessJSON{
		AccessKey: a.AccessKey, SecretKey: a.SecretKey.Reveal(), SessionToken: a.SessionToken.Reveal(), Region: a.Region,
		PathStyle: a.PathStyle, CA: a.CA, StorageClass: a.StorageClass, Encryption: a.Encryption, BytesPerSec: a.BytesPerSec,
	})
	if err != nil {
		return Secret{}, Errorf(CodeInternal, "the access to the object store cannot be packed")
	}
	return NewSecret(string(b)), nil
}

// UnpackObjectAccess is the reverse of Pack. Its errors show nothing of the secret.
func UnpackObjectAccess(packed Secret) (ObjectAccess, error) {
	if packed.IsZero() {
		return ObjectAccess{}, nil
	}
	var j accessJSON
	if err := json.Unmarshal([]byte(packed.Reveal()), &j); err != nil {
		return ObjectAccess{}, Errorf(CodeInvalid, "the opened access to the object store is not valid")
	}
	return ObjectAccess{
		AccessKey: j.AccessKey, SecretKey: NewSecret(j.SecretKey), SessionToken: NewSecret(j.SessionToken), Region: j.Region,
		PathStyle: j.PathStyle, CA: j.CA, StorageClass: j.StorageClass, Encryption: j.Encryption, BytesPerSec: j.BytesPerSec,
	}, nil
}

// ObjectAccessChange changes what it names; the rest stays. A new key, or secret,
// without a session token takes the old token away: it was of the old key.
type ObjectAccessChange struct {
	AccessKey    *string
	SecretKey    Secret // zero: the old one stays
	SessionToken Secret

	Region       *string
	PathStyle    *bool
	CA           *string
	StorageClass *string
	Encryption   *string
	BytesPerSec  *int64
}

// Apply returns the access with the change in it. CodeInvalid for a new access key
// without its secret.
func (c ObjectAccessChange) Apply(a ObjectAccess) (ObjectAccess, error) {
	if c.AccessKey != nil && *c.AccessKey != a.AccessKey && c.SecretKey.IsZero() {
		return a, Errorf(CodeInvalid, "access key %q comes without its secret", *c.AccessKey).WithHint("give the secret, too: --secret-key-file FILE")
	}
	if c.AccessKey != nil && *c.AccessKey != a.AccessKey || !c.SecretKey.IsZero() {
		a.SessionToken = Secret{}
	}
	if !c.SecretKey.IsZero() {
		a.SecretKey = c.SecretKey
	}
	if !c.SessionToken.IsZero() {
		a.SessionToken = c.SessionToken
	}
	change(&a.AccessKey, c.AccessKey)
	change(&a.Region, c.Region)
	change(&a.PathStyle, c.PathStyle)
	change(&a.CA, c.CA)
	change(&a.StorageClass, c.StorageClass)
	change(&a.Encryption, c.Encryption)
	change(&a.BytesPerSec, c.BytesPerSec)
	return a, a.Validate()
}

func change[T any](to *T, v *T) {
	if v != nil {
		*to = *v
	}
}

// Guide is a recovery kit's line on how the location is reached; empty for a
// directory. It holds no secret: whoever keeps the kit must keep the way to one, too.
func (a ObjectAccess) Guide(l Location) string {
	if !l.InStore() {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "bucket %s at %s with access key %s, whose secret is not in this kit; "+
		"holdfast takes them from HOLDFAST_S3_ACCESS_KEY and HOLDFAST_S3_SECRET_KEY, restic from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
		l.Bucket, l.Store(), a.AccessKey)
	if a.Region != "" {
		fmt.Fprintf(&b, "; the region %s from HOLDFAST_S3_REGION, AWS_DEFAULT_REGION", a.Region)
	}
	if a.CA != "" {
		b.WriteString("; restic takes a file with the store's certificates, which stand below, as --cacert FILE")
	}
	return b.String()
}
