package s3

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// failure turns what a call returned into an error of the contract.
func (b *Bucket) failure(ctx context.Context, err error, name string) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	where := b.cfg.Endpoint + ", bucket " + b.cfg.Bucket
	var e minio.ErrorResponse
	if !errors.As(err, &e) {
		if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
			return holdfast.Wrap(holdfast.CodeForbidden, err, "the certificate of %s is not trusted", b.cfg.Endpoint).
				WithHint("give the certificates of who has signed it, or write the host as the certificate has it")
		}
		if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
			return holdfast.Wrap(holdfast.CodeForbidden, err, "the certificate of %s is signed by nobody whom we trust", b.cfg.Endpoint).
				WithHint("give the certificates of who has signed it")
		}
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s cannot be reached, or has not answered in full", b.cfg.Endpoint).
			WithHint("look whether it runs, and whether this machine has a way to it")
	}
	if locked(e) {
		return objstore.Retained(name, time.Time{})
	}
	switch e.Code {
	case "NoSuchKey", "NoSuchVersion", "NotFound", "ObjectParentIsFile":
		return objstore.NotFound(name)
	case "NoSuchBucket":
		return holdfast.Wrap(holdfast.CodeInvalid, err, "there is no bucket %s on %s", b.cfg.Bucket, b.cfg.Endpoint).WithHint("make it, or name another one")
	case "PreconditionFailed":
		return objstore.Exists(name)
	case "ExistingObjectIsDirectory": // a gateway over a file system, while it removes an empty directory
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s could not make object %s now", where, name)
	case "ConditionalRequestConflict": // another write of this name is under way, and may fail
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "object %s is being written by somebody else", name)
	case "QuotaExceeded", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "InsufficientStorage":
		return holdfast.Wrap(holdfast.CodeExhausted, err, "%s has no room for object %s", where, name).WithHint("raise the quota, or make room")
	case "RequestTimeTooSkewed":
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the clocks of %s and of this machine differ too much", b.cfg.Endpoint).WithHint("set the clock of this machine")
	case "InvalidAccessKeyId", "XAdminUserNotFound", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken":
		return holdfast.Errorf(holdfast.CodeForbidden, "%s does not take the access key: %s", where, e.Message).WithHint("look at the access key, its secret and its session token; holdfast repository access gives a repository others")
	case "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect": // a request that was signed for another region
		return holdfast.Errorf(holdfast.CodeForbidden, "%s does not take region %q: %s", where, b.cfg.Region, e.Message).
			WithHint("name the bucket's region, or none, and the store is asked: holdfast repository access NAME --region \"\"")
	case "AccessDenied", "AllAccessDisabled", "InvalidObjectState":
		return holdfast.Errorf(holdfast.CodeForbidden, "%s refuses this to us, object %s: %s", where, name, e.Message).WithHint("look at the rights of the access key, and at object lock")
	case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted", "BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody":
		return holdfast.Errorf(holdfast.CodeUnavailable, "%s could not do it now, object %s: %s", where, name, e.Message)
	}
	switch {
	case e.StatusCode == http.StatusForbidden, e.StatusCode == http.StatusUnauthorized:
		return holdfast.Errorf(holdfast.CodeForbidden, "%s refuses this to us, object %s: %s", where, name, e.Message).WithHint("look at the rights of the access key")
	case e.StatusCode == http.StatusInsufficientStorage:
		return holdfast.Wrap(holdfast.CodeExhausted, err, "%s has no room for object %s", where, name).WithHint("make room")
	case e.StatusCode >= 500, e.StatusCode == http.StatusTooManyRequests, e.StatusCode == http.StatusRequestTimeout:
		return holdfast.Errorf(holdfast.CodeUnavailable, "%s could not do it now, object %s: %s", where, name, e.Message)
	}
	return holdfast.Errorf(holdfast.CodeInternal, "%s answered %d %s, object %s: %s", where, e.StatusCode, e.Code, name, e.Message)
}

// locked reports whether a server refuses because an object is under retention. Amazon
// and others say so in the message of an AccessDenied only; RetentionPolicyNotMet is
// Google's, and MinIO answers InvalidRequest.
func locked(e minio.ErrorResponse) bool {
	switch e.Code {
	case "ObjectLocked", "RetentionPolicyNotMet":
		return true
	case "AccessDenied", "InvalidRequest":
		m := strings.ToLower(e.Message)
		return strings.Contains(m, "object lock") || strings.Contains(m, "worm protected")
	}
	return false
}
