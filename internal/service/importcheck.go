package service

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
)

// check refuses what no set of ours can say.
func (im *importer) check(f FoundSet) error {
	set := f.Set
	bad := func(format string, args ...any) error {
		return holdfast.Errorf(holdfast.CodeInvalid, format, args...).WithHint("the snapshot is not as holdfast writes them; restore --offline, or restic, may read it all the same")
	}
	for what, id := range map[string]int64{
		"set": int64(set.ID), "site": int64(set.Site), "job": int64(set.Job), "execution": int64(set.Execution), "parent": int64(set.Parent),
	} {
		if (id != 0 || what != "parent") && (id < holdfast.FirstID || id > MaxImportID) {
			return bad("its %s cannot have the id %d", what, id)
		}
	}
	switch {
	case !hexadecimal(f.Snapshot, 64):
		return bad("the snapshot has no id")
	case !hexadecimal(f.Origin, 32):
		return bad("it does not say which installation wrote it")
	case f.Fence < 1 || f.Fence > MaxImportID:
		return bad("its execution cannot have the fence %d", f.Fence)
	case set.Parent >= set.ID:
		return bad("set %d cannot build on set %d", set.ID, set.Parent)
	case set.RunType != holdfast.RunFull && set.RunType != holdfast.RunDelta && set.RunType != holdfast.RunCumulative:
		return bad("its run type %q is unknown", shorten(string(set.RunType), 64))
	case !slices.Contains(im.s.cfg.Engines, set.Engine) || set.Engine == holdfast.EngineETL:
		return holdfast.Errorf(holdfast.CodeInvalid, "it was made by the engine %q, which this program does not have", shorten(string(set.Engine), 64)).
			WithHint("import it with the version of holdfast that made it, or with a newer one")
	case !plausible(set.Started) || !plausible(set.Stopped) || set.Stopped.Before(set.Started):
		return bad("its times are impossible")
	case set.Bytes < 0 || f.Files < 0:
		return bad("its size is impossible")
	case len(set.Damaged) > maxTextBytes || len(f.Warnings) > maxTextBytes || !utf8.ValidString(set.Damaged) || !utf8.ValidString(f.Warnings):
		return bad("what it says of its damage is too long, or no text")
	case len(set.Physical.Tablespaces) > maxTablespaces || slices.ContainsFunc(set.Physical.Tablespaces, badTablespace):
		return bad("its tablespaces are impossible")
	}
	if err := holdfast.ValidName("site", f.SiteSlug); err != nil {
		return bad("%s", holdfast.ErrorMessage(err))
	}
	if err := importedJob(f).Validate(); err != nil {
		return bad("%s", holdfast.ErrorMessage(err))
	}
	return nil
}

func badTablespace(t holdfast.Tablespace) bool {
	return t.OID == 0 || len(t.Path) > maxTextBytes || strings.ContainsFunc(t.Path, isControl) || t.Path != "" && holdfast.CleanAbs("tablespace", t.Path) != nil
}

func hexadecimal(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// plausible reports whether a backup can have been made then.
func plausible(t time.Time) bool { return t.Year() >= 2000 && t.Year() < 9999 }

// shorten cuts a text from outside for a message.
func shorten(s string, n int) string {
	s = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, s), "?")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
