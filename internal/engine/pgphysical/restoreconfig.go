package pgphysical

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// autoConf is the file of ALTER SYSTEM. It is read last, so what it says holds;
// pg_verifybackup does not look at it.
const autoConf = "postgresql.auto.conf"

// strayConfig holds files in the new data directory that were included from
// elsewhere than below the directory of postgresql.conf.
const strayConfig = "holdfast_config"

// readIndex learns what the set holds from outside the data directory.
func (r *restore) readIndex(ctx context.Context) error {
	text, err := r.src.ReadFile(ctx, configIndex, maxMap)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	var c configuration
	if err := json.Unmarshal(text, &c); err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the set's list of configuration files is not valid")
	}
	r.index = &c
	return nil
}

// note says that the copy has no configuration, when it has none. In place the
// source's own is where it was.
func (r *restore) note() string {
	if r.index == nil || r.req.Spec.Configuration || r.conf || r.inPlace() {
		return ""
	}
	return fmt.Sprintf("the source kept its configuration (%q) outside its data directory, and it was not restored: no server starts there without it; restore with --configuration, or put one there",
		r.index.ConfigFile)
}

// putConfiguration puts files that the source kept outside its data directory
// into the new one, when that is wanted.
func (r *restore) putConfiguration(ctx context.Context) error {
	if r.index == nil {
		return nil
	}
	if !r.req.Spec.Configuration {
		r.log.InfoContext(ctx, "the source kept configuration outside its data directory; it is in the set and was not restored",
			"files", len(r.index.Files))
		return nil
	}
	home := path.Dir(r.index.ConfigFile)
	for _, name := range r.index.Files {
		content, err := r.src.ReadFile(ctx, configPlace+name, maxConfigFile)
		if err != nil {
			return err
		}
		to := ""
		switch name {
		case r.index.ConfigFile:
			to = "postgresql.conf"
		case r.index.HBAFile:
			to = "pg_hba.conf"
		case r.index.IdentFile:
			to = "pg_ident.conf"
		default:
			to = movedPath(name, home)
		}
		if !filepath.IsLocal(to) {
			return holdfast.Errorf(holdfast.CodeInvalid, "the set holds configuration with the path %q", name)
		}
		if _, err := r.data.root.Lstat(to); err == nil {
			continue // the data directory has its own
		}
		if to != "pg_hba.conf" && to != "pg_ident.conf" {
			content = []byte(adaptConf(string(content), path.Dir(name), home, name == r.index.ConfigFile))
		}
		if err := r.writeSmall(to, content, os.O_TRUNC); err != nil {
			return err
		}
	}
	return nil
}

// movedPath returns where a file goes that was included from the configuration in
// home, relative to the new data directory.
func movedPath(name, home string) string {
	if home != "." && below(name, home) {
		return strings.TrimPrefix(name, home+"/")
	}
	return strayConfig + name
}

// movedSettings name places of the source; in the new data directory the
// server's defaults are right.
var movedSettings = map[string]bool{"data_directory": true, "hba_file": true, "ident_file": true, "external_pid_file": true}

// adaptConf rewrites a postgresql.conf for its new place: lines that name places
// of the source become comments, and includes lead to where the files are now.
// dir is where the file was, home where postgresql.conf was.
func adaptConf(text, dir, home string, main bool) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		key, value := confLine(line)
		switch {
		case movedSettings[key]:
			b.WriteString("# changed by the restore: " + line)
		case key == "include" || key == "include_if_exists" || key == "include_dir":
			if !path.IsAbs(value) && main {
				b.WriteString(line) // lies beside this file, as before
				continue
			}
			if !path.IsAbs(value) {
				value = path.Join(dir, value)
			}
			// Paths in a file that is included are relative to that file.
			to := movedPath(path.Clean(value), home)
			if from := movedPath(path.Join(dir, "x"), home); !main {
				if rel, err := filepath.Rel(path.Dir(from), to); err == nil {
					to = rel
				}
			}
			b.WriteString("# changed by the restore: " + line)
			if !strings.HasSuffix(line, "\n") {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%s '%s'\n", key, strings.ReplaceAll(to, "'", "''"))
		default:
			b.WriteString(line)
		}
	}
	return b.String()
}

// stopArchiving keeps the copy from archiving into the source's archive: both
// have the same system identifier, and their timelines would collide.
func (r *restore) stopArchiving() error {
	text := fmt.Sprintf("\n# Written by the restore of %s: a copy of a cluster must not archive into the archive of its source.\n"+
		"# Remove these lines once this server has an archive of its own.\n%s\narchive_mode = 'off'\n", now(), r.receipt())
	return r.writeSmall(autoConf, []byte(text), os.O_APPEND)
}
