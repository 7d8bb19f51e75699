#!/usr/bin/env bash
# Runs the fuzz targets of both modules, one after the other.
#
# Usage: fuzz.sh TIME-PER-TARGET [DIRECTORY [TARGET]]
#
# DIRECTORY is where the targets are looked for, and TARGET a regular expression
# for their names; without them every target runs.
set -euo pipefail

cd "$(dirname "$0")/.."
mapfile -t files < <(git ls-files --cached --others --exclude-standard -- "${2:-.}/*_test.go" | xargs grep -l '^func Fuzz' || true)
mapfile -t dirs < <(for f in "${files[@]}"; do dirname "$f"; done | sort -u)
for dir in "${dirs[@]}"; do
	list=$(go -C "$dir" test -list '^Fuzz' .)
	mapfile -t targets < <(grep '^Fuzz' <<<"$list" | grep -E "${3:-.}" || true)
	for target in "${targets[@]}"; do
		echo "fuzz: $dir $target"
		go -C "$dir" test -run '^$' -fuzz "^$target\$" -fuzztime "$1" -fuzzminimizetime 2s .
	done
done
