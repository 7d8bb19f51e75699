#!/usr/bin/env bash
# Fails when go mod tidy, the formatters or the generators would change a file. Changes nothing itself: generators run in
# a copy of the tree.
#
# Usage: verify.sh PATH-OF-GOLANGCI-LINT
set -euo pipefail

linter=$1
cd "$(dirname "$0")/.."
bad=0

for module in . cmd/holdfast-etl; do
	echo "verify: go mod tidy in $module"
	go -C "$module" mod tidy -diff || {
		echo "verify: go.mod or go.sum is not tidy: run go mod tidy in $module" >&2
		bad=1
	}

	echo "verify: format in $module"
	(cd "$module" && "$linter" fmt --diff ./...) || {
		echo "verify: the code is not formatted: run make fmt" >&2
		bad=1
	}
done

if git grep -q -e '^//go:generate ' -- '*.go'; then
	echo "verify: generate"
	copy=$(mktemp -d)
	trap 'rm -rf "$copy"' EXIT
	mkdir "$copy/old" "$copy/new"
	git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do
		[ ! -e "$f" ] || printf '%s\0' "$f"
	done >"$copy/files"
	for d in old new; do tar --null -T "$copy/files" -cf - | tar -xf - -C "$copy/$d"; done
	(cd "$copy/new" && go generate ./...)
	diff -ru "$copy/old" "$copy/new" || {
		echo "verify: generated files are stale: run make generate" >&2
		bad=1
	}
fi
exit $bad
