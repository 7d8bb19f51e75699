package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast"
)

// confirm asks on the terminal, and returns an error unless the answer is yes.
func (a *app) confirm(ctx context.Context, question string) error {
	if !term.IsTerminal(int(a.stdin.Fd())) {
		return holdfast.Errorf(holdfast.CodeInvalid, "this cannot be undone, and nobody is at the terminal to confirm it").
			WithHint("add --yes")
	}
	return ask(ctx, a.stdin, a.stderr, question)
}

func ask(ctx context.Context, in io.Reader, out io.Writer, question string) error {
	_, _ = fmt.Fprintf(out, "%s [y/N] ", question)
	answer := make(chan string, 1)
	failed := make(chan error, 1)
	go func() { // ends with the line, or with the process
		line, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			failed <- err
			return
		}
		answer <- line
	}()
	select {
	case <-ctx.Done():
		_, _ = fmt.Fprintln(out)
		return context.Cause(ctx)
	case err := <-failed:
		return fmt.Errorf("read the answer: %w", err)
	case line := <-answer:
		switch strings.ToLower(strings.TrimSpace(line)) {
		case "y", "yes":
			return nil
		}
	}
	_, _ = fmt.Fprintln(out, "nothing was deleted")
	return exitError(exitRefused)
}
