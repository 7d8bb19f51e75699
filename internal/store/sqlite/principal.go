package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// named says which row is meant: "execution 1234".
func named[T ~int64](noun string, id T) string { return fmt.Sprintf("%s %d", noun, int64(id)) }

// quoted says which row is meant: `host "db1"`.
func quoted(noun, name string) string { return fmt.Sprintf("%s %q", noun, name) }

const (
	principalColumns  = "id, account, kind, name, disabled, created"
	credentialColumns = "id, account, " + credentialChanging
	// credentialChanging is what an update writes.
	credentialChanging = "principal, kind, name, hash, public_key, parent, role, sites, hosts, pools, created, expires, idle, revoked, last_used"
)

func principalFields(p *holdfast.Principal) []any {
	return []any{idOf(&p.ID), &p.Account, &p.Kind, &p.Name, &p.Disabled, micros{&p.Created}}
}

func credentialFields(c *holdfast.Credential) []any {
	return []any{
		idOf(&c.ID), &c.Account, &c.Principal, &c.Kind, &c.Name, &c.Hash, &c.PublicKey, idOf(&c.Parent), &c.Role, listOf(&c.Sites), listOf(&c.Hosts),
		listOf(&c.Pools),
		micros{&c.Created},
		micros{&c.Expires},
		span{&c.Idle},
		micros{&c.Revoked},
		micros{&c.LastUsed},
	}
}

// Principal returns one principal.
func (r reader) Principal(ctx context.Context, a holdfast.AccountID, id holdfast.PrincipalID) (holdfast.Principal, error) {
	return one(ctx, r.s, named("principal", id), principalFields,
		"SELECT "+principalColumns+" FROM principals WHERE id = ? AND "+mine, id, a, a)
}

// PrincipalByName returns one principal.
func (r reader) PrincipalByName(ctx context.Context, a holdfast.AccountID, name string) (holdfast.Principal, error) {
	var w where
	w.add("name = ?", name)
	w.account(a)
	return one(ctx, r.s, quoted("principal", name), principalFields, "SELECT "+principalColumns+" FROM principals"+w.String()+" ORDER BY id LIMIT 1", w.args...)
}

// Principals lists the account's principals, by id.
func (r reader) Principals(ctx context.Context, a holdfast.AccountID) ([]holdfast.Principal, error) {
	return many(ctx, r.s, principalFields, "SELECT "+principalColumns+" FROM principals WHERE "+mine+" ORDER BY id", a, a)
}

// Credential returns one credential.
func (r reader) Credential(ctx context.Context, a holdfast.AccountID, id holdfast.CredentialID) (holdfast.Credential, error) {
	return one(ctx, r.s, named("credential", id), credentialFields,
		"SELECT "+credentialColumns+" FROM credentials WHERE id = ? AND "+mine, id, a, a)
}

// CredentialByHash returns the credential with the hash, of whichever account.
func (r reader) CredentialByHash(ctx context.Context, hash []byte) (holdfast.Credential, error) {
	return one(ctx, r.s, "credential like this", credentialFields,
		"SELECT "+credentialColumns+" FROM credentials WHERE hash = ?", hash)
}

// Credentials lists the account's credentials of the kinds, by id.
func (r reader) Credentials(ctx context.Context, a holdfast.AccountID, kinds ...holdfast.CredentialKind) ([]holdfast.Credential, error) {
	var w where
	w.account(a)
	if err := in(&w, "kind", kinds); err != nil {
		return nil, err
	}
	return many(ctx, r.s, credentialFields, "SELECT "+credentialColumns+" FROM credentials INDEXED BY credentials_account"+w.String()+" ORDER BY id", w.args...)
}

// CredentialsOf lists a principal's credentials, by id.
func (r reader) CredentialsOf(ctx context.Context, p holdfast.PrincipalID) ([]holdfast.Credential, error) {
	return many(ctx, r.s, credentialFields, "SELECT "+credentialColumns+" FROM credentials WHERE principal = ? ORDER BY id", p)
}

// InsertPrincipal makes a principal.
func (t tx) InsertPrincipal(ctx context.Context, p *holdfast.Principal) error {
	n, err := t.s.insert(ctx, "INSERT INTO principals ("+principalColumns+") VALUES (?,?,?,?,?,?)", principalFields(p)...)
	if err != nil {
		return taken(err, "principal %q", p.Name)
	}
	p.ID = holdfast.PrincipalID(n)
	return nil
}

// UpdatePrincipal writes everything but id and account.
func (t tx) UpdatePrincipal(ctx context.Context, p holdfast.Principal) error {
	args := append(principalFields(&p)[2:], p.ID, p.Account)
	n, err := t.s.exec(ctx, "UPDATE principals SET (kind, name, disabled, created) = (?,?,?,?) WHERE id = ? AND account = ?", args...)
	return changed(n, taken(err, "principal %q", p.Name), "principal %d", p.ID)
}

// InsertCredential makes a credential.
func (t tx) InsertCredential(ctx context.Context, c *holdfast.Credential) error {
	n, err := t.s.insert(ctx, "INSERT INTO credentials ("+credentialColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", credentialFields(c)...)
	if err != nil {
		return taken(err, "credential with this secret")
	}
	c.ID = holdfast.CredentialID(n)
	return nil
}

// UpdateCredential writes everything but id and account.
func (t tx) UpdateCredential(ctx context.Context, c holdfast.Credential) error {
	args := append(credentialFields(&c)[2:], c.ID, c.Account)
	n, err := t.s.exec(ctx, "UPDATE credentials SET ("+credentialChanging+") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ? AND account = ?", args...)
	return changed(n, taken(err, "credential with this secret"), "credential %d", c.ID)
}

// DeleteCredential deletes a credential.
func (t tx) DeleteCredential(ctx context.Context, a holdfast.AccountID, id holdfast.CredentialID) error {
	n, err := t.s.exec(ctx, "DELETE FROM credentials WHERE id = ? AND account = ?", id, a)
	return changed(n, err, "credential %d", id)
}

// usedAtOnce bounds how many used proofs are forgotten with each new one.
const usedAtOnce = 100

// UseOnce notes that a proof was used. It forgets some of those whose time has
// passed.
func (t tx) UseOnce(ctx context.Context, hash []byte, now, until time.Time) error {
	_, err := t.s.exec(ctx, "DELETE FROM used_proofs WHERE hash IN (SELECT hash FROM used_proofs WHERE until < ? AND hash <> ? ORDER BY until"+limited+")",
		micros{&now}, hash, usedAtOnce)
	if err != nil {
		return err
	}
	_, err = t.s.exec(ctx, "INSERT INTO used_proofs (hash, until) VALUES (?,?)", hash, micros{&until})
	return taken(err, "proof that may be used once")
}
