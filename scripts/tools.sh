#!/usr/bin/env bash
# Prints the path of golangci-lint in the given version; builds it into bin when no such one is found.
set -euo pipefail

version=$1
bin=$(cd "$(dirname "$0")/.." && pwd)/bin
gobin=$(go env GOBIN)

for dir in "$bin" "${gobin:-$(go env GOPATH)/bin}"; do
	if [ -x "$dir/golangci-lint" ] && [ "v$("$dir/golangci-lint" version --short 2>/dev/null)" = "$version" ]; then
		echo "$dir/golangci-lint"
		exit 0
	fi
done
echo "tools: building golangci-lint $version, which takes some minutes" >&2
mkdir -p "$bin"
GOBIN=$bin go install "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version" >&2
echo "$bin/golangci-lint"
