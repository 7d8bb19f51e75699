package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func TestAsk(t *testing.T) {
	for in, want := range map[string]error{
		"y\n": nil, "Yes\n": nil, " yes ": nil,
		"n\n": exitError(exitRefused), "\n": exitError(exitRefused), "": exitError(exitRefused), "yess\n": exitError(exitRefused),
	} {
		var out bytes.Buffer
		if err := ask(t.Context(), strings.NewReader(in), &out, "Delete it?"); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", in, err, want)
		}
		if !strings.HasPrefix(out.String(), "Delete it? [y/N] ") || strings.Contains(out.String(), "nothing was deleted") != (want != nil) {
			t.Errorf("%q: it said %q", in, out.String())
		}
	}
}

// TestAskEndsWithTheCommand interrupts a command that waits for an answer.
func TestAskEndsWithTheCommand(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errSignal)
	in, w := io.Pipe()
	defer func() { _ = w.Close() }() // ends the reader
	if err := ask(ctx, in, io.Discard, "Delete it?"); !errors.Is(err, errSignal) {
		t.Errorf("got %v, want %v", err, errSignal)
	}
}

// TestNobodyConfirms asks where no terminal is.
func TestNobodyConfirms(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	a := &app{stdin: f, stderr: os.Stderr}
	if err := a.confirm(t.Context(), "Delete it?"); holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorHint(err), "--yes") {
		t.Errorf("got %v (hint %q)", err, holdfast.ErrorHint(err))
	}
}
