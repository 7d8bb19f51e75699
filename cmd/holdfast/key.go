package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

const (
	defaultKeyBits  = 3072
	minKeyBits      = 2048
	maxKeyBits      = 8192
	maxPublicKeyPEM = 16 << 10 // bytes
)

func (a *app) keyCommand() *cobra.Command {
	var user string
	list := &cobra.Command{
		Use: "list", Short: "List public keys", Args: args(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			keys, err := c.Keys(cmd.Context(), user)
			if err != nil {
				return err
			}
			return a.printKeys(keys, keys...)
		},
	}
	list.Flags().StringVar(&user, "user", "", "`user` whose keys are listed (default: every user)")
	revoke := &cobra.Command{
		Use: "revoke ID", Short: "End a public key at once", Args: args(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := number[holdfast.CredentialID]("key", args[0])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			return c.RevokeKey(cmd.Context(), id)
		},
	}
	return group("key", "Public keys of users, who sign their requests with the private ones", a.keyAddCommand(), a.keyCreateCommand(), list, revoke)
}

func (a *app) keyAddCommand() *cobra.Command {
	var file string
	add := &cobra.Command{
		Use: "add USER NAME", Short: "Take a public key for a user", Args: args(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := readPublicKey(file)
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			k, err := c.AddKey(cmd.Context(), native.NewKey{User: args[0], Name: args[1], PublicKey: string(text)})
			if err != nil {
				return err
			}
			return a.printKeys(k, k)
		},
	}
	add.Flags().StringVar(&file, "public-key", "", "`file` of the public key, PEM")
	require(add, "public-key")
	return add
}

// readPublicKey does not send a private key over the network.
func readPublicKey(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%v", err).WithHint("name a file that holds a public key in PEM")
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxPublicKeyPEM+1))
	if err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "read %s: %v", file, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || len(text) > maxPublicKeyPEM || (block.Type != "PUBLIC KEY" && block.Type != "RSA PUBLIC KEY") {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s does not hold a public key in PEM", file).
			WithHint("make one from the private key with: openssl rsa -in KEY.pem -pubout")
	}
	return text, nil
}

// createdKey is a new key with its private half, which nobody else has.
type createdKey struct {
	native.Key
	PrivateKey string `json:"private_key,omitempty"`
}

func (a *app) keyCreateCommand() *cobra.Command {
	var out string
	var bits int
	create := &cobra.Command{
		Use: "create USER NAME", Short: "Make a pair of keys, and print the private one, this once", Args: args(2),
		Long: "The pair is made by this command, on this machine: the server gets the public key alone.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if bits < minKeyBits || bits > maxKeyBits {
				return holdfast.Errorf(holdfast.CodeInvalid, "a key of %d bits is not made", bits).WithHint("use %d to %d", minKeyBits, maxKeyBits)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			private, public, err := newKeyPair(bits)
			if err != nil {
				return err
			}
			in := native.NewKey{User: args[0], Name: args[1], PublicKey: string(public)}
			k, err := addCreated(cmd.Context(), c, in, private, out)
			if err != nil {
				return err
			}
			return a.printCreated(k, private, out)
		},
	}
	create.Flags().StringVar(&out, "out", "", "new `file` for the private key (default: standard output)")
	create.Flags().IntVar(&bits, "bits", defaultKeyBits, "`size` of the key")
	return create
}

// newKeyPair makes an RSA key: PKCS #8 and PKIX, in PEM.
func newKeyPair(bits int) (private, public []byte, err error) {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode private key: %w", err)
	}
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, nil, fmt.Errorf("encode public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), nil
}

// addCreated has the public key taken. The private one is in its file before,
// so that no key is taken whose other half was lost.
func addCreated(ctx context.Context, c *client.Client, in native.NewKey, private []byte, out string) (native.Key, error) {
	if out == "" {
		return c.AddKey(ctx, in)
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return native.Key{}, holdfast.Errorf(holdfast.CodeInvalid, "%v", err).WithHint("name a file that does not exist, in a directory that does")
	}
	_, err = f.Write(private)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return native.Key{}, errors.Join(fmt.Errorf("write the private key: %w", err), os.Remove(out))
	}
	k, err := c.AddKey(ctx, in)
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeUnavailable { // else it may have been taken
		err = errors.Join(err, os.Remove(out))
	}
	return k, err
}

func (a *app) printCreated(k native.Key, private []byte, out string) error {
	made := createdKey{Key: k}
	if out == "" {
		made.PrivateKey = string(private)
	}
	if a.output == "json" {
		return printJSON(a.stdout, made)
	}
	where := "its private key is not shown again"
	var err error
	if out == "" {
		_, err = a.stdout.Write(private) // alone, so that a script can take it
	} else {
		where = "its private key is in " + out
	}
	_, _ = fmt.Fprintf(a.stderr, "key %d (%s, of user %s); %s\n", k.ID, k.Name, k.User, where)
	return err
}

func (a *app) printKeys(v any, keys ...native.Key) error {
	return a.print(v, "ID USER NAME CREATED REVOKED", func(row func(...any)) {
		for _, k := range keys {
			row(k.ID, k.User, k.Name, k.Created, k.Revoked)
		}
	})
}
