package pgphysical

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// Test says what a backup of the site would miss. A server that cannot be reached
// is a finding, too.
func (e *Engine) Test(ctx context.Context, site engine.Site) ([]engine.Finding, error) {
	conn, err := connect(ctx, site, "holdfast site test")
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return []engine.Finding{failed("connection", err)}, nil
	}
	defer pgsession.Close(ctx, conn)
	found, version, err := serverFindings(ctx, conn)
	if err != nil {
		return nil, err
	}
	if !version.Supported() {
		return found, nil
	}
	rights, err := rightFindings(ctx, conn, version)
	if err != nil {
		return nil, err
	}
	found = append(found, rights...)
	if missing(rights) == nil {
		_, err := checkDataDir(ctx, conn, site.DataDir)
		if err != nil {
			found = append(found, failed("data directory", err))
		} else {
			found = append(found, engine.Finding{Name: "data directory", OK: true, Text: site.DataDir + " is the server's, and can be read"})
		}
	}
	return found, nil
}

// failed makes a finding of an error.
func failed(name string, err error) engine.Finding {
	text := holdfast.ErrorMessage(err)
	if holdfast.ErrorCode(err) == holdfast.CodeInternal {
		text = err.Error()
	}
	return engine.Finding{Name: name, Text: text, Fix: holdfast.ErrorHint(err)}
}

// serverFindings looks at what needs no rights.
func serverFindings(ctx context.Context, conn *pgx.Conn) ([]engine.Finding, pg.Version, error) {
	var version pg.Version
	var standby bool
	var walLevel, checksums string
	var slots, used int
	err := pgsession.QueryRow(ctx, conn, queryLimit, `SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('wal_level'),
		current_setting('data_checksums'), current_setting('max_replication_slots')::int, (SELECT count(*) FROM pg_replication_slots)::int`,
		nil, &version, &standby, &walLevel, &checksums, &slots, &used)
	if err != nil {
		return nil, 0, pgsession.QueryError(err, "tell its settings")
	}
	found := []engine.Finding{{Name: "connection", OK: true, Text: fmt.Sprintf("the server answers as PostgreSQL %s", version)}}
	if !version.Supported() {
		return append(found, failed("version", errVersion(version))), version, nil
	}
	found = append(found, engine.Finding{Name: "version", OK: true, Text: fmt.Sprintf("PostgreSQL %d is supported", version.Major())})
	if standby {
		found = append(found, failed("primary", errStandby()))
	}
	wal := engine.Finding{Name: "wal_level", OK: walLevel != "minimal", Text: "wal_level is " + walLevel}
	if !wal.OK {
		wal.Fix = "ALTER SYSTEM SET wal_level = 'replica'; and restart the server"
	}
	slot := engine.Finding{Name: "replication slots", OK: used < slots, Text: fmt.Sprintf("%d of %d replication slots are in use", used, slots)}
	if !slot.OK {
		slot.Fix = fmt.Sprintf("ALTER SYSTEM SET max_replication_slots = %d; and restart the server", slots+5)
	}
	sums := engine.Finding{Name: "data checksums", OK: true, Text: "data checksums are on: every page is verified when it is copied"}
	if checksums != "on" {
		sums.Text = "data checksums are off: damaged pages cannot be found when they are copied"
		sums.Fix = "stop the server and run pg_checksums --enable"
	}
	return append(found, wal, slot, sums), version, nil
}

// backupFunctions are the signatures of what starts and stops a backup.
func backupFunctions(v pg.Version) (start, stop string) {
	if v.Major() < 15 {
		return "pg_catalog.pg_start_backup(text, boolean, boolean)", "pg_catalog.pg_stop_backup(boolean, boolean)"
	}
	return "pg_catalog.pg_backup_start(text, boolean)", "pg_catalog.pg_backup_stop(boolean)"
}

// rightFindings looks at the role's rights, each with what grants it.
func rightFindings(ctx context.Context, conn *pgx.Conn, v pg.Version) ([]engine.Finding, error) {
	start, stop := backupFunctions(v)
	const slot = "pg_catalog.pg_create_physical_replication_slot(name, boolean, boolean)"
	const control = "pg_catalog.pg_control_system()"
	var role string
	var may struct{ start, stop, slot, control, settings, replication bool }
	err := pgsession.QueryRow(ctx, conn, queryLimit, `SELECT quote_ident(current_user), has_function_privilege($1, 'EXECUTE'), has_function_privilege($2, 'EXECUTE'),
		has_function_privilege($3, 'EXECUTE'), has_function_privilege($4, 'EXECUTE'), pg_has_role('pg_read_all_settings', 'USAGE'),
		(SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)`,
		[]any{start, stop, slot, control}, &role, &may.start, &may.stop, &may.slot, &may.control, &may.settings, &may.replication)
	if err != nil {
		return nil, pgsession.QueryError(err, "tell the role's rights")
	}
	right := func(name string, ok bool, what, fix string) engine.Finding {
		f := engine.Finding{Name: name, OK: ok, Text: fmt.Sprintf("role %s may %s", role, what)}
		if !ok {
			f.Text, f.Fix = fmt.Sprintf("role %s may not %s", role, what), fix
		}
		return f
	}
	execute := func(f string) string { return fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s TO %s;", f, role) }
	return []engine.Finding{
		right("backup start", may.start, "start a backup", execute(start)),
		right("backup stop", may.stop, "stop a backup", execute(stop)),
		right("settings", may.settings, "read all settings", fmt.Sprintf("GRANT pg_read_all_settings TO %s;", role)),
		right("replication", may.replication, "use replication slots", fmt.Sprintf("ALTER ROLE %s REPLICATION;", role)),
		right("slot function", may.slot, "create a replication slot", execute(slot)),
		right("control function", may.control, "read the system identifier", execute(control)),
	}, nil
}

// missing returns an error that names every right that is missing, or nil.
func missing(found []engine.Finding) error {
	var texts, fixes []string
	for _, f := range found {
		if !f.OK {
			texts, fixes = append(texts, f.Text), append(fixes, f.Fix)
		}
	}
	if texts == nil {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeForbidden, "rights are missing: %s", strings.Join(texts, "; ")).
		WithHint("run as a superuser: %s", strings.Join(fixes, " "))
}

// readError puts a failure to read the cluster's files in the domain's terms.
func readError(err error, path string) error {
	var he *holdfast.Error
	switch {
	case errors.As(err, &he):
		return err
	case errors.Is(err, os.ErrPermission):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "%s cannot be read", path).
			WithHint("run the worker as the server's own user, or as a member of its group with a cluster made by initdb --allow-group-access")
	case errors.Is(err, os.ErrNotExist):
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s does not exist on the worker's machine", path).
			WithHint("give the site the directory that SHOW data_directory prints, and a worker that stands on the server's machine")
	}
	return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s cannot be read", path)
}
