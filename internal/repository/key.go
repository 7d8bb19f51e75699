package repository

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// What a password is tried on. Key objects are not authenticated, and who may write into
// the repository can put any number of them beside ours: neither many nor dear ones may
// keep us from opening it, or keep us busy for long.
const (
	maxKeys     = 1000    // objects that are read
	maxKeysWork = 1 << 27 // of all derivations together: 64 of the dearest that we make
)

// deriveTarget is how long a password should take to check.
const deriveTarget = 250 * time.Millisecond

// keyJSON is a key object: one slot, which gives the master key to whoever
// knows its password. The names are the format's.
type keyJSON struct {
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	KDF      string    `json:"kdf"`
	N        int       `json:"N"`
	R        int       `json:"r"`
	P        int       `json:"p"`
	Salt     []byte    `json:"salt"`
	Data     []byte    `json:"data"`                   // the master key's JSON, sealed
	Use      KeyUse    `json:"holdfast_use,omitempty"` // ours: other programs leave it alone
}

type masterJSON struct {
	MAC struct {
		K []byte `json:"k"`
		R []byte `json:"r"`
	} `json:"mac"`
	Encrypt []byte `json:"encrypt"`
}

// errWrongPassword means that a slot does not open with the password.
var errWrongPassword = errors.New("the password does not open this key")

// paramsFor returns how much work a new password should cost. A service makes its own at
// random, and opens the repository for each job.
func paramsFor(use KeyUse, now func() time.Time) (crypt.Params, error) {
	if use == UseService {
		return crypt.RandomParams(), nil
	}
	return measureParams(now)
}

// measureParams finds how much work a password should cost on this machine.
func measureParams(now func() time.Time) (crypt.Params, error) {
	began := now()
	_, err := crypt.Derive(holdfast.NewSecret("measure"), make([]byte, crypt.SaltSize), crypt.MinParams())
	return crypt.Calibrate(deriveTarget, now().Sub(began)), err
}

// encodeKey returns a key object for the password.
func encodeKey(master *crypt.Key, password holdfast.Secret, use KeyUse, p crypt.Params, now time.Time) ([]byte, error) {
	if password.IsZero() {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the repository's password is empty")
	}
	k := keyJSON{Created: now, Use: use, KDF: "scrypt", N: p.N, R: p.R, P: p.P, Salt: make([]byte, crypt.SaltSize)}
	k.Hostname, _ = os.Hostname() // for people only
	if u, err := user.Current(); err == nil {
		k.Username = u.Username
	}
	if _, err := rand.Read(k.Salt); err != nil {
		return nil, err
	}
	slot, err := crypt.Derive(password, k.Salt, p)
	if err != nil {
		return nil, err
	}
	var m masterJSON
	m.Encrypt, m.MAC.K, m.MAC.R = master.Parts()
	plain, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	if k.Data, err = slot.Seal(plain); err != nil {
		return nil, err
	}
	return json.Marshal(k)
}

// parseKey reads a key object and checks what can be checked without the
// password.
func parseKey(data []byte) (keyJSON, error) {
	var k keyJSON
	if err := json.Unmarshal(data, &k); err != nil {
		return k, holdfast.Wrap(holdfast.CodeInvalid, err, "the key is not the JSON of one")
	}
	if k.KDF != "scrypt" {
		return k, holdfast.Errorf(holdfast.CodeInvalid, "the key's derivation %q is unknown", k.KDF)
	}
	if len(k.Salt) == 0 || len(k.Data) < crypt.Overhead {
		return k, holdfast.Errorf(holdfast.CodeInvalid, "the key has no salt or no data")
	}
	return k, k.params().Check()
}

// open returns the master key, or errWrongPassword.
func (k keyJSON) open(password holdfast.Secret) (*crypt.Key, error) {
	slot, err := crypt.Derive(password, k.Salt, k.params())
	if err != nil {
		return nil, err
	}
	plain, err := slot.OpenInPlace(append([]byte(nil), k.Data...))
	if err != nil {
		return nil, errWrongPassword
	}
	var m masterJSON
	if err := json.Unmarshal(plain, &m); err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the master key is not the JSON of one")
	}
	return crypt.FromParts(m.Encrypt, m.MAC.K, m.MAC.R)
}

// findKey opens the first slot that the password fits and calls use with the
// slot's id and the master key, until use says that it is the right one. The cheapest
// slots are tried first: a service's costs nothing, and the others' passwords a quarter
// of a second each.
func findKey(ctx context.Context, b objstore.Bucket, password holdfast.Secret, use func(hash.ID, *crypt.Key) (bool, error)) error {
	ids, err := list(ctx, b, kindKey())
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the repository has no key").
			WithHint("bring the objects below keys/ back from a copy: without one nothing can be read")
	}
	all, damaged, err := readSlots(ctx, b, ids[:min(len(ids), maxKeys)])
	if err != nil {
		return err
	}
	slots := affordable(all)
	for _, s := range slots {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		master, err := s.open(password)
		if errors.Is(err, errWrongPassword) {
			continue
		}
		if err != nil {
			damaged = append(damaged, fmt.Errorf("key %s: %w", s.id.Short(), err))
			continue
		}
		if ok, err := use(s.id, master); ok || err != nil {
			return err
		}
	}
	if len(slots) < len(all) || len(ids) > maxKeys {
		return holdfast.Errorf(holdfast.CodeForbidden, "no key that was tried opens with this password: %d of the repository's %d", len(slots), len(ids)).
			WithHint("somebody has put very many, or very dear ones, below keys/: move those away that came last, and try again")
	}
	if len(damaged) > 0 {
		return holdfast.Wrap(holdfast.CodeForbidden, errors.Join(damaged...),
			"no key of the repository opens with this password, and %d of its %d keys are damaged", len(damaged), len(ids)).
			WithHint("use the password of the recovery kit")
	}
	return holdfast.Errorf(holdfast.CodeForbidden, "no key of the repository opens with this password").
		WithHint("check the password; when it is a recovery kit's, whose text was checked, its key was removed from this repository: use a newer kit")
}

// affordable returns as many of the slots as may be tried: one at least.
func affordable(slots []slotKey) []slotKey {
	work := 0
	for i, s := range slots {
		if work += s.params().Work(); work > maxKeysWork && i > 0 {
			return slots[:i]
		}
	}
	return slots
}

// slotKey is a key object with its id.
type slotKey struct {
	id hash.ID
	keyJSON
}

// readSlots reads key objects, and returns the cheapest first; and why some are damaged.
func readSlots(ctx context.Context, b objstore.Bucket, ids []hash.ID) (slots []slotKey, damaged []error, _ error) {
	for _, id := range ids {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		data, err := fetch(ctx, b, kindKey(), id)
		if err != nil {
			if code := holdfast.ErrorCode(err); code != holdfast.CodeInvalid && code != holdfast.CodeNotFound {
				return nil, nil, err
			}
			damaged = append(damaged, err)
			continue
		}
		k, err := parseKey(data)
		if err != nil {
			damaged = append(damaged, fmt.Errorf("key %s: %w", id.Short(), err))
			continue
		}
		slots = append(slots, slotKey{id, k})
	}
	slices.SortStableFunc(slots, func(a, b slotKey) int { return cmp.Compare(a.params().Work(), b.params().Work()) })
	return slots, damaged, nil
}

func (k keyJSON) params() crypt.Params { return crypt.Params{N: k.N, R: k.R, P: k.P} }

func addKey(
	ctx context.Context, b objstore.Bucket, master *crypt.Key, password holdfast.Secret, use KeyUse, p crypt.Params, now time.Time,
) (hash.ID, error) {
	data, err := encodeKey(master, password, use, p, now)
	if err != nil {
		return hash.ID{}, err
	}
	id := hash.Sum(data)
	return id, putObject(ctx, b, kindKey().name(id), kindKey().word, data)
}
