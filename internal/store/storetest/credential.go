package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func testCredentials(t *testing.T, f *fixture) {
	ada := holdfast.Principal{Account: f.account, Kind: holdfast.PrincipalPerson, Name: "ada"}
	bob := holdfast.Principal{Account: f.account, Kind: holdfast.PrincipalPerson, Name: "bob"}
	password := holdfast.Credential{Account: f.account, Kind: holdfast.CredentialPassword, Hash: []byte("$argon2id$ada"), Role: holdfast.RoleAdmin, Created: at(1)}
	session := holdfast.Credential{
		Account: f.account, Kind: holdfast.CredentialSession, Hash: []byte("s"), Role: holdfast.RoleAdmin, Created: at(2), Expires: at(90), Idle: 30 * time.Minute,
	}
	key := holdfast.Credential{Account: f.account, Kind: holdfast.CredentialKey, Name: "laptop", Hash: []byte("k"), PublicKey: []byte{0x30, 0x82}, Created: at(3)}
	pat := holdfast.Credential{Account: f.account, Kind: holdfast.CredentialPAT, Hash: []byte("p"), Created: at(4)}
	bobs := holdfast.Credential{Account: f.account, Kind: holdfast.CredentialPassword, Hash: []byte("$argon2id$bob"), Created: at(5)}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		insert := func(c *holdfast.Credential, p *holdfast.Principal) func() error {
			return func() error { c.Principal = p.ID; return tx.InsertCredential(ctx, c) }
		}
		return firstError(
			func() error { return tx.InsertPrincipal(ctx, &ada) },
			func() error { return tx.InsertPrincipal(ctx, &bob) },
			insert(&password, &ada),
			insert(&bobs, &bob),
			func() error { session.Parent = password.ID; return nil },
			insert(&session, &ada),
			insert(&key, &ada),
			insert(&pat, &ada),
		)
	})
	type list = []holdfast.Credential
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "a person's", list{password, session, key, pat})(r.CredentialsOf(ctx, ada.ID))
		same(t, "another's", list{bobs})(r.CredentialsOf(ctx, bob.ID))
		same(t, "nobody's", list(nil))(r.CredentialsOf(ctx, bob.ID+1))
		same(t, "the account's", list{password, bobs, session, key, pat})(r.Credentials(ctx, f.account))
		same(t, "the account's keys", list{key})(r.Credentials(ctx, f.account, holdfast.CredentialKey))
		same(t, "the account's keys and passwords", list{password, bobs, key})(r.Credentials(ctx, f.account, holdfast.CredentialKey, holdfast.CredentialPassword))
		same(t, "every account's passwords", list{password, bobs})(r.Credentials(ctx, 0, holdfast.CredentialPassword))
		same(t, "the account's tokens", list(nil))(r.Credentials(ctx, f.account, holdfast.CredentialToken))
		same(t, "a session", session)(r.CredentialByHash(ctx, []byte("s")))
		return nil
	})
	f.refused(t, "a session of a password that is not", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		lost := holdfast.Credential{Account: f.account, Principal: ada.ID, Kind: holdfast.CredentialSession, Hash: []byte("lost"), Parent: 999999}
		return tx.InsertCredential(ctx, &lost)
	})
	remove := func(a holdfast.AccountID, id holdfast.CredentialID) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.DeleteCredential(ctx, a, id) }
	}
	f.refused(t, "end of a password with a session", holdfast.CodeConflict, remove(f.account, password.ID))
	f.refused(t, "end of another account's session", holdfast.CodeNotFound, remove(f.account+1, session.ID))
	f.update(t, remove(f.account, session.ID))
	f.refused(t, "end of a session that is gone", holdfast.CodeNotFound, remove(f.account, session.ID))
	f.update(t, remove(f.account, password.ID))
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "what is left", list{key, pat})(r.CredentialsOf(ctx, ada.ID))
		code[holdfast.Credential](t, "a session that is gone", holdfast.CodeNotFound)(r.CredentialByHash(ctx, []byte("s")))
		return nil
	})
}

// testUseOnce replays proofs before and after their time.
func testUseOnce(t *testing.T, f *fixture) {
	use := func(proof string, now, until int) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error {
			return tx.UseOnce(ctx, []byte(proof), at(now), at(until))
		}
	}
	f.update(t, use("a", 0, 10))
	f.update(t, use("b", 0, 20))
	f.refused(t, "a proof again", holdfast.CodeConflict, use("a", 0, 10))
	f.refused(t, "a proof again, with a longer life", holdfast.CodeConflict, use("a", 5, 50))
	f.update(t, use("c", 9, 30)) // others are forgotten when new ones come
	f.refused(t, "a proof that is still good", holdfast.CodeConflict, use("a", 10, 10))
	f.update(t, use("d", 11, 30)) // a has passed, b and c have not
	f.refused(t, "one that ends later", holdfast.CodeConflict, use("b", 11, 20))
	f.refused(t, "one that ends last", holdfast.CodeConflict, use("c", 11, 30))

	// More than are forgotten at once.
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		for i := range 300 {
			if err := tx.UseOnce(ctx, []byte{byte(i), byte(i >> 8), 0xff}, at(12), at(13+i%2*100)); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range 10 {
		f.update(t, use(string(rune('p'+i)), 60, 200))
	}
	for i := 1; i < 300; i += 2 {
		f.refused(t, "a proof among many that were forgotten", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
			return tx.UseOnce(ctx, []byte{byte(i), byte(i >> 8), 0xff}, at(60), at(113))
		})
	}

	// What a transaction that failed has used is unused.
	err := f.Update(t.Context(), func(tx store.Tx) error {
		if err := tx.UseOnce(t.Context(), []byte("undone"), at(60), at(200)); err != nil {
			return err
		}
		return errWanted
	})
	if err == nil {
		t.Error("got no error from a function that failed")
	}
	f.update(t, use("undone", 60, 200))

	var wins atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			err := f.Update(t.Context(), func(tx store.Tx) error { return tx.UseOnce(t.Context(), []byte("raced"), at(60), at(200)) })
			switch {
			case err == nil:
				wins.Add(1)
			case holdfast.ErrorCode(err) != holdfast.CodeConflict:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := wins.Load(); got != 1 {
		t.Errorf("got %d uses of one proof at once, want 1", got)
	}
}
