// Command holdfast-etl is the process in which the SQL of ETL executions runs: one
// DuckDB, spoken to by a holdfast worker over standard input and output. It is a
// module of its own, so that nothing of DuckDB is in the holdfast binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast/cmd/holdfast-etl/internal/session"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// version is stamped by the build.
var version = "unknown"

// ending is how long what is under way may take to end.
const ending = 5 * time.Second

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	if len(args) == 1 && args[0] == "version" {
		engine, err := session.EngineVersion(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, "holdfast-etl:", err)
			return 1
		}
		fmt.Printf("holdfast-etl %s (DuckDB %s, protocol %d)\n", version, engine, duck.Protocol)
		return 0
	}
	if len(args) > 0 {
		fmt.Fprintln(os.Stderr, "usage: holdfast-etl version")
		return 2
	}
	files, err := session.OpenFiles(duck.FilesFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "holdfast-etl: this program is started by a holdfast worker, and talks to nobody else\nhint: run holdfast etl run, or holdfast-etl version")
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	// Without its parent it still has something to do: its files.
	signal.Ignore(syscall.SIGPIPE)
	s := session.New(version, files)
	served := make(chan struct{})
	go func() {
		defer close(served)
		err = s.Serve(ctx, os.Stdin, os.Stdout)
	}()
	select {
	case <-served:
	case <-ctx.Done():
		select {
		case <-served:
		case <-time.After(ending):
		}
		s.Clean()
		return 128 + int(syscall.SIGTERM)
	}
	s.Clean()
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, "holdfast-etl:", err)
		return 1
	}
	return 0
}
