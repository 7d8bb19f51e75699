package worker

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

func (r *run) restore(e engine.Engine, secrets wire.Secrets) (res engine.Result, err error) {
	r.progress.Phase("open")
	repo, err := r.w.openRepository(r.soft, r.order.Repository, secrets, r.rate)
	if err != nil {
		return res, err
	}
	reader, err := repo.NewReader(r.soft, r.order.Snapshot)
	if errors.Is(err, repository.ErrNoSnapshot) {
		return res, holdfast.Wrap(holdfast.CodeNotFound, err, "backup set %d is not in its repository any more: it has no snapshot %s", r.order.Set, r.order.Snapshot).
			WithHint("restore another set; see holdfast set list")
	}
	if err != nil {
		return res, fmt.Errorf("open backup set %d: %w", r.order.Set, err)
	}
	defer func() {
		closeErr := reader.Close()
		if err == nil && closeErr != nil {
			r.log.WarnContext(r.link, "repository not closed cleanly", "error", closeErr)
			return
		}
		err = errors.Join(err, closeErr)
	}()
	damage := Damage(r.soft, reader)
	ask := engine.Restore{
		Installation: r.order.Installation, Execution: r.order.Execution, Fence: r.order.Fence, Spec: *r.order.Restore,
		Repository: localDir(r.order.Repository.Location), Roots: r.w.cfg.RestoreRoots, Report: &r.progress, Log: r.log,
	}
	if r.order.Target != nil {
		ask.InPlace = siteOf(*r.order.Target, holdfast.Secret{})
	}
	res, err = e.Restore(r.soft, ask, reader)
	if err == nil && damage != "" {
		res.Warnings = append(res.Warnings, damage)
	}
	return res, err
}

// localDir is the directory that a repository's location names; empty when it names
// none of this machine.
func localDir(location string) string {
	l, err := holdfast.ParseLocation(location)
	if err != nil {
		return ""
	}
	return l.Dir
}

// withNotes adds to a detail how much a delta restore has written, and what the engine
// has to say.
func withNotes(detail string, spec *holdfast.RestoreSpec, res engine.Result) string {
	var all []string
	if detail != "" {
		all = append(all, detail)
	}
	if spec != nil && spec.Delta {
		all = append(all, fmt.Sprintf("this attempt has written %d of %d bytes: the others were right already", res.Written, res.Bytes))
	}
	if res.Note != "" {
		all = append(all, res.Note)
	}
	return wire.Clip(strings.Join(all, "; "), wire.MaxDetail)
}

// withKept adds to a detail what a restore in place has moved aside. When it did not
// succeed it says, too, how to have it back.
func withKept(detail string, kept []engine.Kept, e holdfast.ExecutionID, done bool) string {
	if len(kept) == 0 {
		return detail
	}
	var where, back []string
	for _, k := range kept {
		where = append(where, fmt.Sprintf("what was in %s is kept in %s", k.Path, k.At))
		if _, err := os.Lstat(k.Path); err == nil {
			back = append(back, fmt.Sprintf("mv -T %s %s", quote(k.Path), quote(fmt.Sprintf("%s.failed-%d", k.Path, e))))
		}
		back = append(back, fmt.Sprintf("mv -T %s %s", quote(k.At), quote(k.Path)))
	}
	text := strings.Join(where, ", and ") + "; to have it back: " + strings.Join(back, " && ")
	if done {
		text = strings.Join(where, ", and ") + ": remove it when it is no longer needed"
	}
	if detail != "" {
		// Where the old content is must not be cut off behind a long error.
		text = wire.Clip(detail, max(wire.MaxDetail-len(text)-len("; "), 0)) + "; " + text
	}
	return wire.Clip(text, wire.MaxDetail)
}

// plainPath holds what stands in a shell's word without quotes.
var plainPath = regexp.MustCompile(`^[A-Za-z0-9/._+,@-]+$`)

// quote makes one word of a path for a shell.
func quote(path string) string {
	if plainPath.MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
