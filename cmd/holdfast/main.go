// Command holdfast is the whole product: the server, a worker, and the command
// line, which is a client of the server's native API.
//
// It exits with 0 when what was asked for is done, 1 when it failed, 2 when the
// request was wrong, 3 when it is done with warnings, 4 when the thing does not
// exist, and 5 when it was refused.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules name time zones, and not every machine has them
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// errSignal is why a command ended that somebody ended.
var errSignal = errors.New("interrupted")

func run(args []string, stdin *os.File, stdout, stderr *os.File) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	go func() { // ends with the process
		<-signals
		cancel(errSignal)
		<-signals // the second one does not wait for anything
		os.Exit(exitFailed)
	}()
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return report(stderr, root.ExecuteContext(ctx))
}

// ignoreHangup lets the process live on when its terminal goes, or when the stock
// restic looks whether the holder of a lock is alive: restic unlock sends SIGHUP
// to the process that a lock of the same host names.
func ignoreHangup() { signal.Ignore(syscall.SIGHUP) }
