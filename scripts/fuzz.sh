#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other.
#
# Usage: fuzz.sh TIME-PER-TARGET
set -euo pipefail

cd "$(dirname "$0")/.."
mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*_test.go' | xargs grep -l '^func Fuzz' || true)
mapfile -t dirs < <(for f in "${files[@]}"; do dirname "$f"; done | sort -u)
for dir in "${dirs[@]}"; do
	mapfile -t targets < <(go test -list '^Fuzz' "./$dir" | grep '^Fuzz' || true)
	for target in "${targets[@]}"; do
		echo "fuzz: $dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 2s "./$dir"
	done
done
