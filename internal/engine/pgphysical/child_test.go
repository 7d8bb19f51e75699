package pgphysical_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// planEnv makes the test binary a process that restores.
const planEnv = "HOLDFAST_TEST_RESTORE"

// plan is what such a process is told.
type plan struct {
	Source    string // file of a DirSource
	Execution holdfast.ExecutionID
	Fence     holdfast.Fence
	Spec      holdfast.RestoreSpec
	InPlace   engine.Site
	Roots     []string
	// KillAt is the step at which the process kills itself: its number, counted
	// from 1. 0: at none.
	KillAt int
}

func TestMain(m *testing.M) {
	text := os.Getenv(planEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var p plan
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		panic(err)
	}
	if err := p.restore(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "%s: %s\nhint: %s\n", holdfast.ErrorCode(err), err, holdfast.ErrorHint(err))
		os.Exit(1)
	}
}

// restore runs in the child.
func (p plan) restore() error {
	src, err := enginetest.LoadDirSource(p.Source)
	if err != nil {
		return err
	}
	steps := 0
	e := pgphysical.New(pgphysical.Options{Step: func(name string) {
		steps++
		_, _ = fmt.Fprintf(os.Stdout, "step %s\n", name)
		if steps == p.KillAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Minute) // the signal comes while we sleep
		}
	}})
	_, err = e.Restore(context.Background(), engine.Restore{
		Installation: "here", Execution: p.Execution, Fence: p.Fence, Spec: p.Spec, InPlace: p.InPlace, Roots: p.Roots,
		Report: &enginetest.Report{}, Log: slog.New(slog.DiscardHandler),
	}, src)
	return err
}

// planOf is the plan of a process that does what the request asks.
func planOf(t *testing.T, req engine.Restore, src *enginetest.DirSource) plan {
	t.Helper()
	name := filepath.Join(testkit.Dir(t), "source")
	if err := src.Save(name); err != nil {
		t.Fatal(err)
	}
	return plan{Source: name, Execution: req.Execution, Fence: req.Fence, Spec: req.Spec, InPlace: req.InPlace, Roots: req.Roots}
}

// run runs the process, and returns the steps that it came to and what it said at
// its end. killed is true when it killed itself.
func (p plan) run(t *testing.T, as func(*exec.Cmd)) (steps []string, said string, killed bool) {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), planEnv+"="+string(text))
	if as != nil {
		as(cmd)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	exit, ended := errors.AsType[*exec.ExitError](err)
	if err != nil && !ended {
		t.Fatal(err)
	}
	if ended {
		st, ok := exit.Sys().(syscall.WaitStatus)
		killed = ok && st.Signaled() && st.Signal() == syscall.SIGKILL
	}
	for line := range strings.Lines(string(out)) {
		if s, ok := strings.CutPrefix(strings.TrimSpace(line), "step "); ok {
			steps = append(steps, s)
		}
	}
	return steps, errs.String(), killed
}
