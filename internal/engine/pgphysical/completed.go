package pgphysical

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// receiptPrefix begins the line that says which restore wrote a data directory.
const receiptPrefix = "# Restored by execution "

// receipt is that line for this restore. It outlives the marker.
func (r *restore) receipt() string {
	return fmt.Sprintf("%s%d of installation %q from set %d.", receiptPrefix, r.req.Execution, r.req.Installation, r.req.Spec.Set)
}

// completed reports whether an earlier fence of this execution has restored
// everything, and died, or was outdated, before that was heard. A server may have
// been started in the directory since. It writes nothing.
func (r *restore) completed(ctx context.Context) (bool, error) {
	if r.req.Fence < 2 || r.data == nil || exists(filepath.Join(r.data.path, markerName)) || !r.hasReceipt() {
		return false, nil
	}
	if same, err := r.hasLabel(ctx); !same {
		return false, err
	}
	if _, err := readControl(ctx, r.data.path); err != nil {
		return false, nil //nolint:nilerr // without one it is not complete
	}
	dirs := []string{r.data.path}
	for _, oid := range sortedOIDs(r.req.Spec.Tablespaces) {
		dir, err := resolve(r.req.Spec.Tablespaces[oid])
		if err != nil {
			return false, nil //nolint:nilerr // what is refused for it says so
		}
		link, err := os.Readlink(filepath.Join(r.data.path, "pg_tblspc", strconv.FormatUint(uint64(oid), 10)))
		if err != nil || link != dir || exists(filepath.Join(dir, markerName)) {
			return false, nil //nolint:nilerr // as above
		}
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs { // the earlier fence may have died before it did so
		if err := syncPath(dir); err != nil {
			return false, writeError(err, dir)
		}
	}
	r.files, r.bytes = r.whole.Files, r.whole.Bytes
	r.req.Report.Total(r.files, r.bytes)
	r.req.Report.Done(r.files, r.bytes)
	r.log.InfoContext(ctx, "an earlier attempt has completed the restore", "path", r.req.Spec.Directory, "files", r.files, "bytes", r.bytes)
	return true, nil
}

// hasReceipt reports whether the newest restore of the data directory was this
// execution's: the set may hold the lines of those before.
func (r *restore) hasReceipt() bool {
	text, err := readLimited(filepath.Join(r.data.path, autoConf), maxConfigFile)
	if err != nil {
		return false
	}
	return newestReceipt(string(text)) == r.receipt()
}

// newestReceipt returns the last receipt in the text; empty: there is none.
func newestReceipt(text string) string {
	newest := ""
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, receiptPrefix) {
			newest = strings.TrimSuffix(line, "\n")
		}
	}
	return newest
}

// hasLabel compares backup_label, which a server renames when it has read it, with
// the set's.
func (r *restore) hasLabel(ctx context.Context) (bool, error) {
	label, err := readLimited(filepath.Join(r.data.path, "backup_label"), maxConfigFile)
	if errors.Is(err, os.ErrNotExist) {
		label, err = readLimited(filepath.Join(r.data.path, "backup_label.old"), maxConfigFile)
	}
	if err != nil {
		return false, nil //nolint:nilerr // without one it cannot be told
	}
	want, err := r.src.ReadFile(ctx, "pgdata/backup_label", maxConfigFile)
	if err != nil {
		return false, err
	}
	return bytes.Equal(label, want), nil
}

func syncPath(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
