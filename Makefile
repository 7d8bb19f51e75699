# Holdfast. `make` prints the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO                ?= go
GOLANGCI_VERSION  := v2.15.0
VERSION           ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TEST_TIMEOUT      ?= 20m
FUZZTIME          ?= 30s
COUNT             ?= 10
SOAK              ?= 1h
HISTORIES         ?= 2000
BENCH_CACHE       ?= $(or $(TMPDIR),/tmp)/holdfast-bench-api
BENCH_WORK        ?= /var/tmp/holdfast-bench
SIZES             ?= small

# A checkout that belongs to another user has no version control status for Go;
# the version is stamped by -ldflags.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false)

# holdfast-etl is a module of its own, so that nothing of DuckDB is in holdfast.
ETL := cmd/holdfast-etl

# Packages whose tests measure time or start the binary itself: the race
# detector would change what they see.
NORACE := /test/

# The histories of crashes take four times as long with the race detector: there a
# few are lived, and all of them without it.
CRASHES := ^TestCrashes$$

# The race detector watches our code and what we link, but for SQLite: a library
# translated from C that is ten times slower under it, and shares its memory with
# nobody.
RACE := -race -gcflags='modernc.org/...=-race=false'

.PHONY: help deps tools build test lint fmt fuzz fuzz-api golden e2e stress soak bench bench-go bench-api bench-control cover generate verify demo demo-vendors demo-etl bench-etl

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what is missing: PostgreSQL 15, restic, curl, jq, a C and C++ compiler
	@scripts/deps.sh

tools: ## install the pinned golangci-lint into bin when it is missing
	@scripts/tools.sh $(GOLANGCI_VERSION) >/dev/null

# libzstd is the first cost of a backup, and its own makefile builds it so, too.
build: ## build bin/holdfast, and bin/holdfast-etl where there is a C++ compiler
	CGO_CFLAGS="$${CGO_CFLAGS:--O3 -g}" $(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/...
	@if [ "$$($(GO) env CGO_ENABLED)" = 1 ] && command -v gcc >/dev/null && command -v g++ >/dev/null; then \
		set -x; $(GO) -C $(ETL) build -trimpath -ldflags '-X main.version=$(VERSION)' -o $(CURDIR)/bin/ .; \
	else \
		echo "build: bin/holdfast-etl is left out: it needs cgo, gcc and g++ (make deps). ETLs with steps in the engine will not run." >&2; \
	fi

test: deps ## run every test; with the race detector where it changes nothing
	@all=$$($(GO) list ./...); \
	raced=$$(grep -v -E '$(NORACE)' <<<"$$all"); plain=$$(grep -E '$(NORACE)' <<<"$$all" || true); \
	$(GO) test $(RACE) -p 3 -timeout $(TEST_TIMEOUT) $$raced; \
	if [ -n "$$plain" ]; then $(GO) test -timeout $(TEST_TIMEOUT) $$plain; fi; \
	$(GO) test -timeout $(TEST_TIMEOUT) -run '$(CRASHES)' ./internal/repository; \
	$(GO) -C $(ETL) test -race -timeout $(TEST_TIMEOUT) ./...

lint: ## golangci-lint and go vet
	$(GO) vet ./...
	"$$(scripts/tools.sh $(GOLANGCI_VERSION))" run ./...
	$(GO) -C $(ETL) vet ./...
	@linter=$$(scripts/tools.sh $(GOLANGCI_VERSION)); cd $(ETL); set -x; "$$linter" run ./...

fmt: ## format the code
	"$$(scripts/tools.sh $(GOLANGCI_VERSION))" fmt ./...
	@linter=$$(scripts/tools.sh $(GOLANGCI_VERSION)); cd $(ETL); set -x; "$$linter" fmt ./...

fuzz: ## run every fuzz target for FUZZTIME (30s)
	@scripts/fuzz.sh $(FUZZTIME)

fuzz-api: ## send every vendor's API random requests for a minute
	@scripts/fuzz.sh 1m internal/api '^FuzzRequests'

golden: ## run the golden exchanges; UPDATE=1 rewrites them
	$(GO) test -count=1 $$(grep -rlE '"update"|api/apitest"' --include='*_test.go' internal | xargs -n 1 dirname | sort -u | sed 's|^|./|') \
		$(if $(UPDATE),-args -update)

e2e: deps ## run the binary against real servers
	$(GO) test -count=1 -timeout $(TEST_TIMEOUT) ./test/e2e/...

stress: deps ## run the tests COUNT (10) times with the race detector, in random order, and HISTORIES (2000) of crashes
	$(GO) test $(RACE) -shuffle=on -count=$(COUNT) -timeout 0 ./...
	HOLDFAST_TEST_HISTORIES=$(HISTORIES) $(GO) test -count=1 -timeout 0 -v -run '$(CRASHES)' ./internal/repository

soak: deps ## run the tests of real servers over and over for SOAK (1h)
	@end=$$(( $$(date +%s) + $$(scripts/seconds.sh $(SOAK)) )); \
	while [ "$$(date +%s)" -lt "$$end" ]; do \
		$(GO) test -count=1 -shuffle=on -timeout $(TEST_TIMEOUT) ./internal/engine/... ./internal/worker/... ./test/...; \
	done

bench: deps build ## measure backups and restores beside pgBackRest (20 minutes; SIZES="small large": 17 GB, too)
	@SIZES="$(SIZES)" scripts/bench-peers.sh $(CURDIR)/bench/RESULTS.md $(BENCH_WORK)

bench-go: deps ## run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -timeout 0 ./...

bench-api: ## fill 100,000 jobs and 1,000,000 executions, read through every API, and fail when one of 100 reads takes over 20 ms
	$(GO) test -v -count=1 -timeout 60m -run '^TestReads$$' ./test/bench -args -full -cache $(BENCH_CACHE) -results $(CURDIR)/bench/RESULTS-api.md

bench-etl: deps build ## move 5,000,000 rows on every route of an ETL, each beside psql, three times
	$(GO) test -v -count=1 -timeout 90m -run '^TestRoutes$$' ./test/etlbench -args -rows 5000000 -rounds 3 -duck $(CURDIR)/bin/holdfast-etl -results $(CURDIR)/bench/RESULTS-etl.md

bench-control: ## measure the control plane: executions a second, latency, how soon a stop arrives
	$(GO) test -run '^$$' -bench '^BenchmarkControl' -benchtime 5s -count 1 -timeout 10m ./internal/dispatch

cover: deps ## run the tests and print how much of each package they cover
	$(GO) test -timeout $(TEST_TIMEOUT) -coverpkg=./... -coverprofile=cover.out ./...
	$(GO) tool cover -func=cover.out | tail -n 1

generate: ## write what is generated
	$(GO) generate ./...

verify: ## fail when go mod tidy, fmt or generate would change a file
	@scripts/verify.sh "$$(scripts/tools.sh $(GOLANGCI_VERSION))"

demo-vendors: deps build ## send what the vendors' pages document to one server; KEEP=1 leaves it running
	@KEEP=$(KEEP) scripts/demo-vendors.sh

demo-etl: deps build ## run ETLs through BMC's calls: an aggregate, a dimension, an export, a service
	@KEEP=$(KEEP) scripts/demo-etl.sh

demo: deps build ## do the main job on a real PostgreSQL and print what it did; KEEP=1 leaves it running
	@KEEP=$(KEEP) scripts/demo.sh
