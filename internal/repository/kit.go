package repository

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// KitVersion is the version of the kits that we write.
const KitVersion = 1

// Kit is what a person needs to read a repository when everything else is gone.
// Its password has a key slot of its own, which a change of the service's
// password does not touch.
type Kit struct {
	Version  int    // 0 in a kit to be written: KitVersion
	Name     string // of the repository, for people; may be empty
	Location string // as holdfast.Location spells it
	FormatID string // the repository's own id, in hexadecimal
	Password holdfast.Secret
	Created  time.Time
	Access   string // how to give credentials for the location; empty: none are needed
	CA       string // certificates of the location's object store in PEM, which are no secret; empty: none are needed
}

// maxKit is the largest kit that is read, in bytes.
const maxKit = 128 << 10

const (
	kitBegin = "----- BEGIN HOLDFAST RECOVERY KIT -----"
	kitEnd   = "----- END HOLDFAST RECOVERY KIT -----"
)

// The fields of a kit, in their order.
const (
	kitVersion  = "Version"
	kitName     = "Name"
	kitLocation = "Location"
	kitFormatID = "Repository-Id"
	kitPassword = "Password"
	kitCreated  = "Created"
	kitAccess   = "Access"
	kitCheck    = "Check"
)

func kitFields() []string {
	return []string{kitVersion, kitName, kitLocation, kitFormatID, kitPassword, kitCreated, kitAccess, kitCheck}
}

// NewKitPassword returns a new password of 160 random bits, in groups that can
// be read out and typed.
func NewKitPassword() (holdfast.Secret, error) {
	// Crockford's base32: no I, L, O and U.
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	const groups, groupLen = 8, 4
	var random [groups * groupLen]byte
	if _, err := rand.Read(random[:]); err != nil {
		return holdfast.Secret{}, err
	}
	var b strings.Builder
	for i, r := range random {
		if i > 0 && i%groupLen == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[r%32]) // five bits each
	}
	return holdfast.NewSecret(b.String()), nil
}

// Encode returns the kit as a text file that explains itself. It holds the
// password.
func (k Kit) Encode() ([]byte, error) {
	if k.Version == 0 {
		k.Version = KitVersion
	}
	if err := k.check(); err != nil {
		return nil, err
	}
	name := k.Name
	if name == "" {
		name = k.FormatID[:8]
	}
	var b strings.Builder
	more := ""
	if k.Access != "" {
		more = "\nBoth need what the line Access below says, and the secret that is not in this file."
	}
	fmt.Fprintf(&b, kitText, name, shellWord(k.place()), k.FormatID, more)
	b.WriteString("\n" + kitBegin + "\n")
	for _, f := range kitFields() {
		if v := k.field(f); v != "" {
			fmt.Fprintf(&b, "%s: %s\n", f, v)
		}
	}
	b.WriteString(kitEnd + "\n")
	if k.CA != "" {
		fmt.Fprintf(&b, "\nThe certificates of its object store, for restic to be put into a file of their own:\n%s\n", strings.TrimSpace(k.CA))
	}
	return []byte(b.String()), nil
}

// place returns the location as restic wants it: a directory without the escapes
// of a URL.
func (k Kit) place() string {
	if u, err := url.Parse(k.Location); err == nil && u.Scheme == "file" && u.Path != "" {
		return u.Path
	}
	return k.Location
}

// shellWord quotes what a shell would take for more than a word.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:@+=,%", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

const kitText = `HOLDFAST RECOVERY KIT for the backup repository %[1]s

With this file and the repository, everything in the repository can be read:
all backup sets, without the server that wrote them. Whoever else has both can
read it, too.

Keep it
  - away from the machine that is backed up and from the one that runs holdfast
  - not in the repository itself
  - on paper, or in a password store that several people can open

Restore with holdfast, on any machine that reaches the repository:
  holdfast restore --offline --kit FILE list
  holdfast restore --offline --kit FILE SET --to /empty/directory

Restore without holdfast: the repository has the restic format, and restic 0.14
or later reads it. It asks for the password below.%[4]s
  restic -r %[2]s snapshots
  restic -r %[2]s restore SNAPSHOT --target /empty/directory
PostgreSQL's data directory is pgdata in what was restored. Put tablespaces back
by hand then: each is a directory tablespaces/OID, and the file
holdfast/tablespace_map says where PostgreSQL expects it (as the target of the
link pg_tblspc/OID in the data directory).

If the repository has moved, say where it is now: --repository PLACE. It is the
right one when it has this id:
  %[3]s
`

func (k Kit) field(name string) string {
	switch name {
	case kitVersion:
		return strconv.Itoa(k.Version)
	case kitName:
		return k.Name
	case kitLocation:
		return k.Location
	case kitFormatID:
		return k.FormatID
	case kitPassword:
		return k.Password.Reveal()
	case kitCreated:
		if !k.Created.IsZero() {
			return k.Created.UTC().Format(time.RFC3339)
		}
	case kitAccess:
		return k.Access
	case kitCheck:
		return k.sum()
	}
	return ""
}

// sum returns the check over the fields: enough to notice a slip of the hand. It
// says nothing about the password to who does not know it, as that has 160
// random bits.
func (k Kit) sum() string {
	var b strings.Builder
	for _, f := range kitFields() {
		if f != kitCheck {
			fmt.Fprintf(&b, "%s: %s\n", f, k.field(f))
		}
	}
	id := hash.Sum([]byte(b.String()))
	s := hex.EncodeToString(id[:8])
	return s[:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:]
}

// check refuses what cannot be written so that it is read back.
func (k Kit) check() error {
	if k.Version > KitVersion {
		return holdfast.Errorf(holdfast.CodeInvalid, "the recovery kit has version %d, and this program knows up to %d", k.Version, KitVersion).
			WithHint("upgrade holdfast; or use restic, as the kit says")
	}
	if k.Version < 1 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the recovery kit has no valid version")
	}
	for _, f := range kitFields() {
		if f == kitCheck {
			continue
		}
		v := k.field(f)
		if strings.TrimSpace(v) != v || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) || !utf8.ValidString(v) {
			return holdfast.Errorf(holdfast.CodeInvalid, "the recovery kit's field %s does not fit on a line of text", f)
		}
	}
	if k.Location == "" || k.Password.IsZero() {
		return holdfast.Errorf(holdfast.CodeInvalid, "the recovery kit has no location or no password")
	}
	if _, err := hash.Parse(k.FormatID); err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the recovery kit's %s is not a repository's id", kitFormatID)
	}
	return nil
}

// ParseKit reads a kit, with or without the text around it. A kit that was
// changed by a slip of the hand is CodeInvalid.
func ParseKit(data []byte) (Kit, error) {
	fields, err := kitLines(data)
	if err != nil {
		return Kit{}, err
	}
	k := Kit{
		Name: fields[kitName], Location: fields[kitLocation], FormatID: fields[kitFormatID],
		Password: holdfast.NewSecret(fields[kitPassword]), Access: fields[kitAccess], CA: kitCertificates(data),
	}
	for _, f := range []string{kitVersion, kitLocation, kitFormatID, kitPassword, kitCheck} {
		if fields[f] == "" {
			return Kit{}, badKit("its line %s is missing", f)
		}
	}
	if k.Version, err = strconv.Atoi(fields[kitVersion]); err != nil {
		return Kit{}, badKit("its version is no number")
	}
	if v := fields[kitCreated]; v != "" {
		if k.Created, err = time.Parse(time.RFC3339, v); err != nil {
			return Kit{}, badKit("its line %s is no time", kitCreated)
		}
		k.Created = k.Created.UTC()
	}
	if err := k.check(); err != nil {
		return Kit{}, err
	}
	if got := strings.ToLower(fields[kitCheck]); got != k.sum() {
		return Kit{}, badKit("its Check is %s, but its lines give %s", got, k.sum())
	}
	return k, nil
}

// kitCertificates returns the certificates after the fields.
func kitCertificates(data []byte) string {
	_, rest, _ := bytes.Cut(data, []byte(kitEnd))
	var out []byte
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return string(out)
		}
		if block.Type == "CERTIFICATE" {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
		}
	}
}

func badKit(format string, args ...any) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "the recovery kit is damaged: "+format, args...).
		WithHint("compare it with the original, letter by letter; if the repository has moved, leave the kit as it is and say where it is now")
}

// kitLines returns the fields between the two marks.
func kitLines(data []byte) (map[string]string, error) {
	if len(data) > maxKit {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a recovery kit is not larger than %d bytes", maxKit)
	}
	fields := map[string]string{}
	inside, ended := false, false
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		switch {
		case !inside:
			inside = line == kitBegin
		case ended || line == "":
		case line == kitEnd:
			ended = true
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || !slices.Contains(kitFields(), name) {
				return nil, badKit("it has the line %q", shorten(line))
			}
			if _, ok := fields[name]; ok {
				return nil, badKit("it has the line %s twice", name)
			}
			fields[name] = strings.TrimSpace(value)
		}
	}
	if !inside || !ended {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "this is not a recovery kit, or not a whole one").
			WithHint("a kit has the lines %q and %q", kitBegin, kitEnd)
	}
	return fields, nil
}

// shorten keeps what may be a mistyped password out of messages.
func shorten(line string) string {
	if name, _, ok := strings.Cut(line, ":"); ok {
		line = name
	}
	return line[:min(len(line), 16)]
}
