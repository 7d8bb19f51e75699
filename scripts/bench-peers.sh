#!/usr/bin/env bash
# Measure Holdfast beside pgBackRest, encrypted both, and write the ratios to a file.
#
# Usage: scripts/bench-peers.sh RESULTS.md WORKDIR [option of bench/peers.sh...]
#   SIZES      which clusters: small (3 GB, about 20 minutes on 2 cores) and large (17 GB; needs 50 GB of room) [small]
#   SEQUENCES  which sequences of backups: seq, weeks [seq,weeks]
#
# Needs the Debian packages postgresql and pgbackrest, python3 and curl. Keep the machine idle.
set -euo pipefail

command -v pgbackrest >/dev/null || {
	echo "bench: pgbackrest is missing: apt-get install pgbackrest" >&2
	exit 2
}
here=$(cd "$(dirname "$0")/.." && pwd)
results=$1 work=$2
shift 2
mkdir -p "$work"
chmod 755 "$work"
cp "$here/bin/holdfast" "$here/bench/adapter" "$work/" # where an unprivileged user can read them
mine=$work/adapter
PLAIN=pgbr-zst1-aes,pgbr-lz4-aes,pgbr-zst1-aes-delta
BLOCK=pgbr-zst1-aes-block

files=()
for size in ${SIZES:-small}; do
	options=()
	[ "$size" = large ] && options=(--scale 1000 --docs 1500000 --runs 2 --restore-runs 2 --incr-runs 2)
	run() { "$here/bench/peers.sh" "$work/$size" --cold 0 "${options[@]}" "$@"; }
	rm -f "$work/$size/results.tsv" "$work/$size"/state.* # of an earlier run on this cluster
	run --phases setup,full,restore,incr --tools "$PLAIN" --adapter "holdfast=$mine" --adapter "holdfast-all=$mine" "$@"
	run --phases "${SEQUENCES:-seq,weeks}" --tools "$BLOCK" --adapter "holdfast=$mine" "$@"
	files+=("$work/$size/results.tsv")
done

{
	echo "# Beside pgBackRest"
	echo
	echo "Written by \`make bench\`: one run of \`bench/peers.sh\`, ours by \`bench/adapter\`, encrypted both, ratios within the run."
	echo "Our figures hold the start and the end of the service and the request for the run. What is behind them: [PROFILE.md](PROFILE.md)."
	echo
	echo "| | |"
	echo "|---|---|"
	echo "| date | $(date -u +%F) |"
	echo "| machine | $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(awk '/MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo) |"
	echo "| Holdfast | $(git -C "$here" describe --always --dirty 2>/dev/null) |"
	echo "| pgBackRest | $(pgbackrest version | cut -d ' ' -f 2), 2 processes, bundles, aes-256-cbc |"
	echo "| PostgreSQL | $(psql --version | cut -d ' ' -f 3), data checksums |"
	"$here/bench/ratios.py" "${files[@]}" || true
} >"$results"
cat "$results"
