package main

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// accessFlags say how an object store is reached. There is no flag that holds a
// secret: everybody on the machine sees the arguments of a process.
type accessFlags struct {
	key             string
	secretFile      string
	secretStdin     bool
	tokenFile       string
	region, caFile  string
	pathStyle       bool
	class, sse      string
	bytesPerSec     int64
	secret, session holdfast.Secret // once they have been read
}

func (f *accessFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.key, "access-key", "", "`id` of the access key for the object store (HOLDFAST_S3_ACCESS_KEY)")
	s.StringVar(&f.secretFile, "secret-key-file", "", "`file` that holds the access key's secret (or HOLDFAST_S3_SECRET_KEY holds it)")
	s.BoolVar(&f.secretStdin, "secret-key-stdin", false, "read the access key's secret from standard input")
	s.StringVar(&f.tokenFile, "session-token-file", "", "`file` that holds the session token of temporary credentials (or HOLDFAST_S3_SESSION_TOKEN holds it)")
	s.StringVar(&f.region, "region", "", "`region` of the bucket (HOLDFAST_S3_REGION; default: the store is asked)")
	s.StringVar(&f.caFile, "ca-file", "", "`file` of certificates that the store's is checked with (HOLDFAST_S3_CA; default: the system's)")
	s.BoolVar(&f.pathStyle, "path-style", false, "name the bucket in the path at Amazon's, too (HOLDFAST_S3_PATH_STYLE); elsewhere it always is")
	s.StringVar(&f.class, "storage-class", "", "`class` of new objects (default: the bucket's)")
	s.StringVar(&f.sse, "sse", "", "`encryption` by the store: AES256, aws:kms, or aws:kms:KEY (default: the bucket's)")
	s.Int64Var(&f.bytesPerSec, "limit-bytes", 0, "`bytes` a second that one execution reads and writes at most; 0: no limit")
}

// readSecrets reads what no flag holds; what is not named stays empty.
func (a *app) readSecrets(f *accessFlags) (err error) {
	if f.secretFile != "" && f.secretStdin {
		return holdfast.Errorf(holdfast.CodeInvalid, "--secret-key-file and --secret-key-stdin exclude each other")
	}
	if f.secretFile != "" {
		f.secret, err = readSecret(f.secretFile)
	} else if f.secretStdin {
		f.secret, err = readSecretFrom(a.stdin, "standard input")
	}
	if err == nil && f.tokenFile != "" {
		f.session, err = readSecret(f.tokenFile)
	}
	return err
}

// newAccess is the access for a new repository; nil for a directory. What no flag
// names comes from the configuration.
func (a *app) newAccess(cmd *cobra.Command, f *accessFlags, location string) (*native.NewObjectAccess, error) {
	l, err := holdfast.ParseLocation(location)
	if err != nil {
		return nil, err
	}
	if !l.InStore() {
		if name := accessFlag(cmd); name != "" {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "--%s is for an object store, and the location is a directory", name).
				WithHint("an object store is --location s3:https://HOST/BUCKET/PREFIX")
		}
		return nil, nil
	}
	if err := a.readSecrets(f); err != nil {
		return nil, err
	}
	c, err := a.config()
	if err != nil {
		return nil, err
	}
	out := &native.NewObjectAccess{
		AccessKey: c.S3.AccessKey, SecretKey: f.secret, SessionToken: f.session, Region: c.S3.Region, PathStyle: c.S3.PathStyle,
		StorageClass: f.class, Encryption: f.sse, BytesPerSecond: f.bytesPerSec,
	}
	put(cmd, "access-key", &out.AccessKey, f.key)
	put(cmd, "region", &out.Region, f.region)
	put(cmd, "path-style", &out.PathStyle, f.pathStyle)
	if out.SecretKey.IsZero() {
		out.SecretKey = c.S3.SecretKey
	}
	if out.SessionToken.IsZero() {
		out.SessionToken = c.S3.SessionToken
	}
	if file := cmp.Or(f.caFile, c.S3.CA); file != "" {
		if out.CA, err = readCA(file); err != nil {
			return nil, err
		}
	}
	switch {
	case out.AccessKey == "":
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "an object store needs an access key").WithHint("name it with --access-key")
	case out.SecretKey.IsZero():
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the secret of access key %s is missing", out.AccessKey).
			WithHint("give it with --secret-key-file, --secret-key-stdin, or in HOLDFAST_S3_SECRET_KEY")
	}
	return out, nil
}

// accessFlag is a flag that was given and is about an object store; empty: none was.
func accessFlag(cmd *cobra.Command) string {
	for _, name := range []string{
		"access-key", "secret-key-file", "secret-key-stdin", "session-token-file", "region", "ca-file", "path-style", "storage-class", "sse", "limit-bytes",
	} {
		if cmd.Flags().Changed(name) {
			return name
		}
	}
	return ""
}

// readCA reads a file of certificates, and nothing else.
func readCA(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the certificates cannot be read: %v", err).WithHint("name a file of certificates in PEM")
	}
	if len(b) > holdfast.MaxAccessCA {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "%s is larger than %d bytes", file, holdfast.MaxAccessCA).
			WithHint("name a file with the certificate of who has signed the store's, and no others")
	}
	if block, _ := pem.Decode(b); block == nil || !x509.NewCertPool().AppendCertsFromPEM(b) {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "%s holds no certificates in PEM", file).WithHint("name a file with -----BEGIN CERTIFICATE----- in it")
	}
	return string(b), nil
}

func (a *app) repositoryAccessCommand() *cobra.Command {
	var f accessFlags
	cmd := &cobra.Command{
		Use: "access REPOSITORY", Short: "Show how a repository's object store is reached, or change it: what no flag names stays", Args: args(1),
		Long: "Without flags, access shows how the object store is reached; secrets are never shown. With flags it changes that,\n" +
			"once the repository has been opened that way. Executions that have begun go on with what they were given: take a\n" +
			"key's rights away when they have ended.",
		Example: "  holdfast repository access main\n" +
			"  holdfast repository access main --access-key NEW --secret-key-file new.secret",
	}
	f.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		if accessFlag(cmd) == "" {
			access, err := c.RepositoryAccess(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.printAccess(access)
		}
		if err := a.readSecrets(&f); err != nil {
			return err
		}
		in := native.ObjectAccessChange{
			AccessKey: changed(cmd, "access-key", f.key), SecretKey: f.secret, SessionToken: f.session, Region: changed(cmd, "region", f.region),
			PathStyle: changed(cmd, "path-style", f.pathStyle), StorageClass: changed(cmd, "storage-class", f.class),
			Encryption: changed(cmd, "sse", f.sse), BytesPerSecond: changed(cmd, "limit-bytes", f.bytesPerSec),
		}
		if in.AccessKey != nil && in.SecretKey.IsZero() {
			if err := a.secretFromEnv(&in); err != nil {
				return err
			}
		}
		if in.CA, err = changedCA(cmd, f.caFile); err != nil {
			return err
		}
		access, err := c.UpdateRepositoryAccess(cmd.Context(), args[0], in)
		if err != nil {
			return err
		}
		return a.printAccess(access)
	}
	return cmd
}

// secretFromEnv takes the secret of a new access key from the environment.
func (a *app) secretFromEnv(in *native.ObjectAccessChange) error {
	c, err := a.config()
	if err != nil {
		return err
	}
	in.SecretKey = c.S3.SecretKey
	if in.SessionToken.IsZero() {
		in.SessionToken = c.S3.SessionToken
	}
	return nil
}

// changedCA reads the certificates of the flag; an empty name is the system's.
func changedCA(cmd *cobra.Command, file string) (*string, error) {
	if !cmd.Flags().Changed("ca-file") {
		return nil, nil
	}
	text := ""
	if file != "" {
		var err error
		if text, err = readCA(file); err != nil {
			return nil, err
		}
	}
	return &text, nil
}

func (a *app) printAccess(v native.ObjectAccess) error {
	return a.print(v, "", func(row func(...any)) {
		row("access key", v.AccessKey)
		row("session token", v.HasSessionToken)
		row("region", v.Region)
		row("path style", v.PathStyle)
		row("certificates of its own", v.CA != "")
		row("storage class", v.StorageClass)
		row("encryption by the store", v.Encryption)
		row("bytes a second", orDash(int(v.BytesPerSecond)))
	})
}
