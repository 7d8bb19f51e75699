package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// minKeyPrefix is how much of a key's id is needed to name it.
const minKeyPrefix = 8

// slotReport is a key as JSON.
type slotReport struct {
	ID       string            `json:"id"`
	Use      repository.KeyUse `json:"use,omitempty"`
	Current  bool              `json:"current"`
	Created  time.Time         `json:"created,omitzero"`
	Username string            `json:"username,omitempty"`
	Hostname string            `json:"hostname,omitempty"`
	Damaged  string            `json:"damaged,omitempty"`
}

func slotReportOf(s repository.KeySlot) slotReport {
	r := slotReport{ID: s.ID, Use: s.Use, Current: s.Current, Created: s.Created, Username: s.Username, Hostname: s.Hostname}
	if s.Damaged != nil {
		r.Damaged = s.Damaged.Error()
	}
	return r
}

func (a *app) repositoryKeyCommand() *cobra.Command {
	return group("key", "Keys of a repository: each is a password that opens it", a.repositoryKeyListCommand(), a.repositoryKeyAddCommand(),
		a.repositoryKeyRemoveCommand(), a.repositoryKeyPasswordCommand())
}

func (a *app) repositoryKeyListCommand() *cobra.Command {
	var in placeFlags
	cmd := &cobra.Command{
		Use: "list [REPOSITORY]", Short: "List the keys of a repository", Args: args(1), Long: "List shows the keys, and which of them has opened the repository now.\n\n" + placeHelp,
	}
	in.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		slots, err := p.KeySlots(cmd.Context())
		if err != nil {
			return err
		}
		all := []slotReport{}
		for _, s := range slots {
			all = append(all, slotReportOf(s))
		}
		return a.print(all, "KEY USE CURRENT CREATED USER HOST DAMAGED", func(row func(...any)) {
			for _, s := range all {
				row(s.ID[:minKeyPrefix], s.Use, s.Current, s.Created, s.Username, s.Hostname, s.Damaged != "")
			}
		})
	}
	return cmd
}

// newPasswordFlags say where a repository's new password comes from.
type newPasswordFlags struct {
	file  string
	stdin bool
}

func (f *newPasswordFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "new-password-file", "", "`file` that holds the new password")
	cmd.Flags().BoolVar(&f.stdin, "new-password-stdin", false, "read the new password from standard input")
}

// newPassword reads the new password; none is the zero value.
func (a *app) newPassword(f newPasswordFlags) (holdfast.Secret, error) {
	if f.file != "" && f.stdin {
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "--new-password-file and --new-password-stdin exclude each other")
	}
	var given holdfast.Secret
	var err error
	switch {
	case f.file != "":
		given, err = readSecret(f.file)
	case f.stdin:
		given, err = readSecretFrom(a.stdin, "standard input")
	}
	if err != nil || given.IsZero() {
		return given, err
	}
	password := withoutBlanks(given)
	if n := utf8.RuneCountInString(password.Reveal()); n < minPassword {
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "the new password has %d characters, without blanks at its ends", n).
			WithHint("give it %d or more: whoever can read the repository can try passwords, and nobody stops them", minPassword)
	}
	if password != given {
		_, _ = fmt.Fprintln(a.stderr, "warning: blanks at the ends of the new password are left out, as restic does with those in a file")
	}
	return password, nil
}

// minPassword is the shortest password of a new key, in characters.
const minPassword = 8

// withoutBlanks returns the password that restic reads in a file: it leaves out blanks at
// the ends (loadPasswordFromFile in cmd/restic/cmd_key.go of restic 0.14).
func withoutBlanks(s holdfast.Secret) holdfast.Secret {
	return holdfast.NewSecret(strings.TrimSpace(s.Reveal()))
}

func (a *app) repositoryKeyAddCommand() *cobra.Command {
	var in placeFlags
	var password newPasswordFlags
	var kit string
	cmd := &cobra.Command{
		Use: "add [REPOSITORY]", Short: "Give a repository one more password, or one more recovery kit", Args: args(1),
		Long: "Add makes a key: one more password that opens the repository. No data is written anew, and the other passwords stay.\n" +
			"With --new-kit it makes a password of its own and writes a recovery kit with it.\n\n" + placeHelp,
		Example: "  holdfast repository key add main --new-password-file anna.password\n" +
			"  holdfast repository key add --kit main.kit --new-kit second.kit",
	}
	in.add(cmd)
	password.add(cmd)
	cmd.Flags().StringVar(&kit, "new-kit", "", "`file` to write a new recovery kit to; it must not exist")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		secret, err := a.newPassword(password)
		if err != nil {
			return err
		}
		if secret.IsZero() == (kit == "") {
			return holdfast.Errorf(holdfast.CodeInvalid, "the new key needs a password: one of --new-password-file, --new-password-stdin and --new-kit")
		}
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		if kit != "" {
			return a.addKit(cmd.Context(), p, kit)
		}
		id, err := p.AddKey(cmd.Context(), secret, repository.UsePerson)
		if err != nil {
			return err
		}
		return a.printSlot(cmd.Context(), p, id)
	}
	return cmd
}

// addKit makes a kit with a key of its own. Its file is taken first, and the key is
// taken away again when the file cannot be written.
func (a *app) addKit(ctx context.Context, p *openedRepository, file string) error {
	f, err := newKitFile("new-kit", file, p.location)
	if err != nil {
		return err
	}
	password, err := repository.NewKitPassword()
	if err != nil {
		return errors.Join(err, f.drop())
	}
	id, err := p.AddKey(ctx, password, repository.UseKit)
	if err != nil {
		return errors.Join(err, f.drop())
	}
	at, err := holdfast.ParseLocation(p.location)
	if err != nil {
		return errors.Join(err, f.drop())
	}
	r := native.CreatedRepository{
		Repository: native.Repository{Name: p.name, Created: time.Now()},
		Kit:        native.Kit{Location: p.location, FormatID: p.ID(), Password: password.Reveal(), Access: p.who.Guide(at), CA: p.who.CA},
	}
	if err := f.write(r); err != nil {
		return errors.Join(holdfast.Wrap(holdfast.CodeExhausted, err, "the recovery kit could not be written"),
			p.RemoveKey(context.WithoutCancel(ctx), id, true))
	}
	_, _ = fmt.Fprintf(a.stderr, "The recovery kit is in %s. Keep it away from this machine.\n", file)
	return a.printSlot(ctx, p, id)
}

func (a *app) printSlot(ctx context.Context, p *openedRepository, id string) error {
	slots, err := p.KeySlots(ctx)
	if err != nil {
		return err
	}
	for _, s := range slots {
		if s.ID == id {
			v := slotReportOf(s)
			return a.print(v, "KEY USE CREATED", func(row func(...any)) { row(v.ID[:minKeyPrefix], v.Use, v.Created) })
		}
	}
	return holdfast.Errorf(holdfast.CodeNotFound, "key %s was made, and is gone again", id[:minKeyPrefix])
}

func (a *app) repositoryKeyRemoveCommand() *cobra.Command {
	var in placeFlags
	var force, yes, last bool
	cmd := &cobra.Command{
		Use: "remove [REPOSITORY] KEY", Short: "Take a password's key away: it opens the repository no longer", Args: args(2),
		Long: "Remove takes a key away; KEY is the beginning of its id. The key that has opened the repository now stays, and so does\n" +
			"the service's own. Whoever has used the key before may have kept what opens the data: a removed key protects what they\n" +
			"can no longer reach, and nothing else. The key of the last recovery kit goes with --last, or when you confirm it.\n\n" + placeHelp,
	}
	in.add(cmd)
	cmd.Flags().BoolVar(&force, "force", false, "also a key that does not say whose it is")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&last, "last", false, "with --yes: although no recovery kit opens the repository any more then")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p, rest, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		slots, err := p.KeySlots(cmd.Context())
		if err != nil {
			return err
		}
		s, err := findSlot(slots, rest[0])
		if err != nil {
			return err
		}
		if !s.Current && (force || s.Use != repository.UseService) { // the others are refused anyway
			question := fmt.Sprintf("Remove key %s of %s? Its password will open nothing.", s.ID[:minKeyPrefix], p.title())
			if err := a.confirmLost(cmd.Context(), question, lostWithKey(slots, s), yes, last); err != nil {
				return err
			}
		}
		if err := p.RemoveKey(cmd.Context(), s.ID, force); err != nil {
			return err
		}
		v := slotReportOf(s)
		_, _ = fmt.Fprintf(a.stderr, "removed key %s\n", s.ID[:minKeyPrefix])
		if a.output == "json" {
			return printJSON(a.stdout, v)
		}
		return nil
	}
	return cmd
}

// findSlot finds a key by the beginning of its id.
func findSlot(slots []repository.KeySlot, prefix string) (repository.KeySlot, error) {
	if len(prefix) < minKeyPrefix {
		return repository.KeySlot{}, holdfast.Errorf(holdfast.CodeInvalid, "%q is too short for a key", prefix).
			WithHint("give %d digits of its id: holdfast repository key list", minKeyPrefix)
	}
	var found []repository.KeySlot
	for _, s := range slots {
		if strings.HasPrefix(s.ID, strings.ToLower(prefix)) {
			found = append(found, s)
		}
	}
	switch len(found) {
	case 0:
		return repository.KeySlot{}, holdfast.Errorf(holdfast.CodeNotFound, "the repository has no key %s", prefix).WithHint("see: holdfast repository key list")
	case 1:
		return found[0], nil
	}
	return repository.KeySlot{}, holdfast.Errorf(holdfast.CodeInvalid, "%d keys begin with %s", len(found), prefix).WithHint("give more of the id")
}

func (a *app) repositoryKeyPasswordCommand() *cobra.Command {
	var in placeFlags
	var password newPasswordFlags
	cmd := &cobra.Command{
		Use: "passwd [REPOSITORY]", Short: "Change the password that the repository is opened with", Args: args(1),
		Long: "Passwd gives a key another password: a new key, and then the old one is removed. No data is written anew.\n\n" +
			"With the name of a repository it is the key of the service, which makes its password itself. With --password-file it is the\n" +
			"key of a person. Recovery kits keep theirs: make a new kit with key add --new-kit, and remove the old one's key.",
		Example: "  holdfast repository key passwd main\n" +
			"  holdfast repository key passwd --repository /backup/holdfast --password-file old --new-password-file new",
	}
	in.add(cmd)
	password.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		secret, err := a.newPassword(password)
		if err != nil {
			return err
		}
		if in == (placeFlags{}) {
			return a.rekey(cmd.Context(), args[0], secret)
		}
		if secret.IsZero() {
			return holdfast.Errorf(holdfast.CodeInvalid, "the new password is missing").WithHint("give it with --new-password-file or --new-password-stdin")
		}
		p, _, err := a.openRepository(cmd.Context(), in, args)
		if err != nil {
			return err
		}
		if p.kit { // also of a kit whose key does not say so
			return holdfast.Errorf(holdfast.CodeConflict, "with another password the recovery kit would open nothing").
				WithHint("make a new kit with: holdfast repository key add --new-kit FILE; then remove this one's key")
		}
		id, err := p.ChangePassword(cmd.Context(), secret)
		if err != nil {
			return err
		}
		return a.printSlot(cmd.Context(), p, id)
	}
	return cmd
}

// rekey gives the service another password. It makes it itself: nobody needs to know it.
func (a *app) rekey(ctx context.Context, ref string, given holdfast.Secret) error {
	if !given.IsZero() {
		return holdfast.Errorf(holdfast.CodeInvalid, "the service makes its password itself").
			WithHint("leave the new password out; a person's key is changed with --repository and --password-file")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	if err := c.RekeyRepository(ctx, ref); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(a.stderr, "The service opens repository %s with a new password, and the old one opens nothing.\n", ref)
	if a.output != "json" {
		return nil
	}
	r, err := c.Repository(ctx, ref)
	if err != nil {
		return fmt.Errorf("the password is changed; read the repository: %w", err)
	}
	return printJSON(a.stdout, r)
}
