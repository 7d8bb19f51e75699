package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// The exit codes.
const (
	exitDone     = 0
	exitFailed   = 1
	exitUsage    = 2
	exitWarnings = 3
	exitNotFound = 4
	exitRefused  = 5
)

// exitError ends the command with a code; what there is to say has been said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit with code %d", int(e)) }

// report says on stderr what went wrong and what to do about it, and returns the
// exit code.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitDone
	}
	if code, ok := errors.AsType[exitError](err); ok {
		return int(code)
	}
	if errors.Is(err, errSignal) || errors.Is(err, context.Canceled) {
		_, _ = fmt.Fprintln(stderr, "error: interrupted")
		return exitFailed
	}
	_, _ = fmt.Fprintln(stderr, "error:", harmless(err.Error(), "\n\t"))
	if hint := holdfast.ErrorHint(err); hint != "" {
		_, _ = fmt.Fprintln(stderr, "hint:", harmless(hint, "\n\t"))
	}
	if errors.Is(err, repository.ErrDamaged) || errors.Is(err, repository.ErrLost) {
		return exitFailed // whatever was asked for, it was not asked wrongly
	}
	return exitCode(holdfast.ErrorCode(err))
}

func exitCode(c holdfast.Code) int {
	switch c {
	case holdfast.CodeInvalid:
		return exitUsage
	case holdfast.CodeNotFound:
		return exitNotFound
	case holdfast.CodeForbidden, holdfast.CodeUnauthenticated, holdfast.CodeConflict:
		return exitRefused
	case holdfast.CodeUnavailable, holdfast.CodeExhausted, holdfast.CodeInternal:
	}
	return exitFailed
}
