package pgphysical

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Limits of configuration that is saved from outside the data directory.
const (
	maxConfigFile  = 4 << 20
	maxConfigFiles = 1000
	maxConfigDepth = 10 // as the server's own
)

// Places in a set.
const (
	configPlace = "holdfast/config" // an absolute path follows
	configIndex = "holdfast/configuration.json"
	mapPlace    = "holdfast/tablespace_map"
)

// configuration says which of the saved files is what.
type configuration struct {
	ConfigFile string   `json:"config_file,omitempty"` // empty: it lies in the data directory
	HBAFile    string   `json:"hba_file,omitempty"`
	IdentFile  string   `json:"ident_file,omitempty"`
	Files      []string `json:"files"` // all of them, absolute
}

// addConfiguration saves what the server reads from outside its data directory.
// Without it a restored directory may not start.
func (b *backup) addConfiguration(ctx context.Context) error {
	s := b.data.settings
	r := &includeReader{
		local: b.data.path, server: s.dataDirectory, as: readerOf(b.owner), left: b.left,
		seen: map[string]bool{}, files: map[string][]byte{}, linked: map[string][]byte{}, linkedDirs: map[string]bool{},
	}
	r.read(s.configFile, confIncludes, 0)
	r.read(s.hbaFile, hbaIncludes, 0)
	r.read(s.identFile, hbaIncludes, 0)
	for _, w := range r.failed {
		b.warnings = append(b.warnings, "configuration outside the data directory was left out: "+w)
	}
	if err := b.addLinked(ctx, r); err != nil {
		return err
	}
	if len(r.files) == 0 {
		return nil
	}
	outside := func(p string) string {
		if r.outside(p) {
			return p
		}
		return ""
	}
	index := configuration{
		ConfigFile: outside(s.configFile), HBAFile: outside(s.hbaFile), IdentFile: outside(s.identFile), Files: sortedKeys(r.files),
	}
	text, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return fmt.Errorf("list the configuration: %w", err)
	}
	if err := b.addPlain(ctx, configIndex, text); err != nil {
		return err
	}
	for _, name := range index.Files {
		if err := b.addPlain(ctx, configPlace+name, r.files[name]); err != nil {
			return err
		}
	}
	b.log.InfoContext(ctx, "configuration outside the data directory saved", "files", len(r.files))
	return nil
}

// addLinked puts what the server reads through links that were left out at its
// place in the data directory: without it a restored server would not start.
func (b *backup) addLinked(ctx context.Context, r *includeReader) error {
	for _, rel := range sortedKeys(r.linkedDirs) {
		n := b.ours("pgdata/"+rel, 0)
		n.Mode = fs.ModeDir | 0o700
		if err := b.sink.Add(ctx, engine.File{Node: n}); err != nil {
			return err
		}
	}
	for _, rel := range sortedKeys(r.linked) {
		content := r.linked[rel]
		b.total(1, int64(len(content)))
		if err := b.addBytes(ctx, b.ours("pgdata/"+rel, int64(len(content))), rel, content); err != nil {
			return err
		}
	}
	return nil
}

// includeReader reads configuration files and what they include.
type includeReader struct {
	local  string            // the data directory
	server string            // the same as the server calls it, which may be in a container
	as     reader            // as whom
	left   map[string]string // links in the data directory that the backup left out
	seen   map[string]bool
	files  map[string][]byte // those outside, by path
	failed []string

	linked     map[string][]byte // those behind links that were left out, by their place below the data directory
	linkedDirs map[string]bool   // their directories, and included ones without files
}

func (r *includeReader) outside(p string) bool {
	for _, dir := range []string{r.local, r.server} {
		if below(p, dir) {
			return false
		}
		if resolved, err := filepath.EvalSymlinks(p); err == nil && below(resolved, dir) {
			return false
		}
	}
	return true
}

// here returns the path on the worker's side of one that the server gave.
func (r *includeReader) here(name string) string {
	name = filepath.Clean(name)
	if below(name, r.server) {
		return r.local + strings.TrimPrefix(name, r.server)
	}
	return name
}

// behindLink returns the place below the data directory of what is reached through
// a link in it that the backup left out.
func (r *includeReader) behindLink(name string) (rel string, ok bool) {
	if rel, ok = strings.CutPrefix(name, r.local+"/"); !ok {
		return "", false
	}
	for p := rel; p != "."; p = path.Dir(p) {
		if _, ok := r.left[p]; ok {
			return rel, true
		}
	}
	return "", false
}

// keepDirs lists a directory and those above it that only the link led to.
func (r *includeReader) keepDirs(rel string) {
	for ; rel != "."; rel = path.Dir(rel) {
		if _, ok := r.behindLink(r.local + "/" + rel); !ok {
			return
		}
		r.linkedDirs[rel] = true
	}
}

// read reads a file and, with includes, what it names.
func (r *includeReader) read(name string, includes func(string) []include, depth int) {
	name = r.here(name)
	if !filepath.IsAbs(name) || r.seen[name] || depth > maxConfigDepth || len(r.seen) > maxConfigFiles {
		return
	}
	r.seen[name] = true
	content, err := r.as.read(name, maxConfigFile)
	if err != nil {
		if depth == 0 || !errors.Is(err, os.ErrNotExist) {
			r.failed = append(r.failed, fmt.Sprintf("%s: %s", name, err))
		}
		return
	}
	if rel, ok := r.behindLink(name); ok {
		r.linked[rel] = content
		r.keepDirs(path.Dir(rel))
	} else if r.outside(name) {
		r.files[name] = content
	}
	for _, i := range includes(string(content)) {
		to := i.path
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		if !i.dir {
			r.read(to, includes, depth+1)
			continue
		}
		to = r.here(to)
		names, err := readNames(to)
		if err != nil {
			r.failed = append(r.failed, fmt.Sprintf("%s: %s", to, err))
			continue
		}
		if rel, ok := r.behindLink(to); ok {
			r.keepDirs(rel) // the server does not start without it, even when it is empty
		}
		for _, n := range names {
			if strings.HasSuffix(n, ".conf") && !strings.HasPrefix(n, ".") {
				r.read(filepath.Join(to, n), includes, depth+1)
			}
		}
	}
}

// include is a line that names another file, or a directory of them.
type include struct {
	path string
	dir  bool
}

// confIncludes returns the include lines of a postgresql.conf.
func confIncludes(text string) []include {
	var all []include
	for line := range strings.Lines(text) {
		key, value := confLine(line)
		switch key {
		case "include", "include_if_exists":
			all = append(all, include{path: value})
		case "include_dir":
			all = append(all, include{path: value, dir: true})
		}
	}
	return all
}

// confLine reads one line of a postgresql.conf: a name in lower case, an optional
// equals sign, and a value with or without quotes. A line without a setting gives
// an empty key.
func confLine(line string) (key, value string) {
	line = strings.TrimSpace(line)
	end := strings.IndexFunc(line, func(c rune) bool {
		return c != '_' && c != '.' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if end <= 0 {
		return "", ""
	}
	key, line = strings.ToLower(line[:end]), strings.TrimSpace(line[end:])
	line = strings.TrimSpace(strings.TrimPrefix(line, "="))
	if !strings.HasPrefix(line, "'") {
		if i := strings.IndexAny(line, " \t#"); i >= 0 {
			line = line[:i]
		}
		return key, line
	}
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		switch {
		case line[i] == '\'' && i+1 < len(line) && line[i+1] == '\'', line[i] == '\\' && i+1 < len(line):
			i++
			b.WriteByte(line[i])
		case line[i] == '\'':
			return key, b.String()
		default:
			b.WriteByte(line[i])
		}
	}
	return key, b.String()
}

// hbaIncludes returns the files that a pg_hba.conf or pg_ident.conf names: by
// @file among its fields, and from 16 on by include lines.
func hbaIncludes(text string) []include {
	var all []include
	for line := range strings.Lines(text) {
		fields := strings.FieldsFunc(cutComment(line), func(c rune) bool { return c == ' ' || c == '\t' || c == ',' || c == '\n' || c == '\r' })
		for i, f := range fields {
			fields[i] = strings.ReplaceAll(f, `"`, "")
		}
		if len(fields) == 2 && slices.Contains([]string{"include", "include_if_exists", "include_dir"}, fields[0]) {
			all = append(all, include{path: fields[1], dir: fields[0] == "include_dir"})
			continue
		}
		for _, f := range fields {
			if p, ok := strings.CutPrefix(f, "@"); ok && p != "" {
				all = append(all, include{path: p})
			}
		}
	}
	return all
}

func cutComment(line string) string {
	quoted := false
	for i := range len(line) {
		switch line[i] {
		case '"':
			quoted = !quoted
		case '#':
			if !quoted {
				return line[:i]
			}
		}
	}
	return line
}
