package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	driver "modernc.org/sqlite"

	"github.com/holdfast-backup/holdfast"
)

// Result codes of SQLite that decide how a caller reacts. The low byte is the
// primary code, the next one says more. Source: https://sqlite.org/rescode.html.
const (
	codeBusy       = 5
	codeLocked     = 6
	codeNoMem      = 7
	codeReadOnly   = 8
	codeInterrupt  = 9
	codeIOErr      = 10
	codeCorrupt    = 11
	codeFull       = 13
	codeCantOpen   = 14
	codeProtocol   = 15
	codeConstraint = 19
	codeNotADB     = 26

	codeConstraintForeignKey = 787
	codeConstraintPrimaryKey = 1555
	codeConstraintTrigger    = 1811
	codeConstraintUnique     = 2067
)

// foreignKeyWords begin what a trigger says that stands for a foreign key.
const foreignKeyWords = "FOREIGN KEY constraint failed"

// resultCode returns SQLite's extended result code of err, or 0.
func resultCode(err error) int {
	if e, ok := errors.AsType[*driver.Error](err); ok {
		return e.Code()
	}
	return 0
}

// classify turns what SQLite says into the domain's terms. It keeps errors that
// already are, and those of a context.
func classify(err error) error {
	if err == nil {
		return nil
	}
	var known *holdfast.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	code := resultCode(err)
	switch code & 0xff {
	case codeBusy, codeLocked, codeProtocol:
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the metadata database is locked").
			WithHint("try again; when it stays like this, look for another program that has the file open")
	case codeFull:
		return errFull(err)
	case codeIOErr, codeCantOpen:
		if outOfSpace(err) {
			return errFull(err)
		}
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the metadata database cannot be read or written").
			WithHint("look at the disk of the state directory")
	case codeReadOnly:
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the metadata database cannot be written").
			WithHint("look at the owner and the mode of the state directory, and how its disk is mounted")
	case codeCorrupt:
		return holdfast.Wrap(holdfast.CodeInternal, err, "the metadata database is damaged").
			WithHint("stop the server and restore the database from a copy")
	case codeNotADB:
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the file is no metadata database")
	case codeConstraint:
		return constraint(code, err)
	}
	if errors.Is(err, sql.ErrConnDone) {
		return errClosed()
	}
	return fmt.Errorf("metadata database: %w", err)
}

func constraint(code int, err error) error {
	switch {
	case code == codeConstraintUnique, code == codeConstraintPrimaryKey:
		return holdfast.Wrap(holdfast.CodeConflict, err, "there is already one like this")
	case code == codeConstraintForeignKey, code == codeConstraintTrigger && strings.Contains(err.Error(), foreignKeyWords):
		return holdfast.Wrap(holdfast.CodeConflict, err, "something that this names does not exist, or something still names this")
	case code == codeConstraintTrigger:
		return holdfast.Wrap(holdfast.CodeConflict, err, "this never changes")
	}
	return holdfast.Wrap(holdfast.CodeInternal, err, "the metadata database refuses a value")
}

func errFull(err error) error {
	return holdfast.Wrap(holdfast.CodeExhausted, err, "the disk of the metadata database is full").
		WithHint("make room on the disk of the state directory, then try again")
}

func errClosed() error {
	return holdfast.Errorf(holdfast.CodeUnavailable, "the metadata database is closed")
}

// outOfSpace reports whether an I/O error means that there is no room. SQLite
// says SQLITE_FULL for a short write, but SQLITE_IOERR when the wal-index cannot
// grow; the driver keeps the cause only as text.
func outOfSpace(err error) bool {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return true
	}
	s := err.Error()
	return strings.Contains(s, syscall.ENOSPC.Error()) || strings.Contains(s, syscall.EDQUOT.Error())
}

// spoils reports whether SQLite may have rolled the whole transaction back when
// it returned err. Source: https://sqlite.org/lang_transaction.html, "Response
// To Errors Within A Transaction".
func spoils(err error) bool {
	switch resultCode(err) & 0xff {
	case codeFull, codeIOErr, codeNoMem, codeBusy, codeInterrupt, codeCorrupt, codeReadOnly, codeCantOpen, codeProtocol, codeNotADB:
		return true
	}
	return false
}

// isUnique reports whether err is a name or an id that is taken.
func isUnique(err error) bool {
	c := resultCode(err)
	return c == codeConstraintUnique || c == codeConstraintPrimaryKey
}

// fileError says what went wrong with a file of the database.
func fileError(err error, what string) error {
	switch {
	case outOfSpace(err):
		return errFull(err)
	case errors.Is(err, fs.ErrPermission):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s: permission denied", what).
			WithHint("run as the owner of the state directory")
	}
	return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s", what)
}
