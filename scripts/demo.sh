#!/usr/bin/env bash
# The main job on a real PostgreSQL: back up through the vendor's API, restore, compare, check with the stock restic,
# and restore once more with nothing but the recovery kit. Prints one table; exits 0 only if everything held.
#
# Usage: make demo [KEEP=1] [SCALE=20]
#   KEEP=1   leaves the server and PostgreSQL running and prints their addresses
#   SCALE    pgbench scale factor, 20 or more
set -euo pipefail

DEMO=demo
SCALE=${SCALE:-20}
export SCALE
if [ "$SCALE" -lt 20 ]; then
	echo "demo: SCALE must be 20 or more" >&2
	exit 2
fi
# shellcheck source=scripts/demo-common.sh
. "$(dirname "$0")/demo-common.sh"

SOURCE=$DEMO_DIR/source
KIT=$DEMO_DIR/recovery.kit
REPO=$DEMO_DIR/repository
SPACE=$DEMO_DIR/tablespace
mkdir -p "$SPACE"

# ---- the table of results ----------------------------------------------------------------------------------------------

rows=()
began=
step() { name=$1; began=$(date +%s.%N); printf '… %s\n' "$name" >&2; }
ok() { # ok RESULT [BYTES]
	local secs bytes=${2:-} rate=
	secs=$(awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN{printf "%.2f", b-a}')
	[ -n "$bytes" ] && rate=$(awk -v n="$bytes" -v s="$secs" 'BEGIN{printf "%.0f MiB/s", n/1048576/(s>0?s:1)}')
	[ -n "$bytes" ] && bytes=$(awk -v n="$bytes" 'BEGIN{printf "%.1f MiB", n/1048576}')
	rows+=("$name|$secs|${bytes:--}|${rate:--}|$1")
}
table() {
	printf '%-44s %8s %12s %12s  %s\n' STEP SECONDS BYTES RATE RESULT
	local r
	for r in "${rows[@]}"; do
		IFS='|' read -r a b c d e <<<"$r"
		printf '%-44s %8s %12s %12s  %s\n' "$a" "$b" "$c" "$d" "$e"
	done
}
die() {
	table
	printf '%-44s %8s %12s %12s  %s\n' "$name" - - - "FAILED: $*"
	exit 1
}

# ---- a source with real tables -----------------------------------------------------------------------------------------

step "PostgreSQL $PG_MAJOR with data checksums"
"$PGBIN/initdb" -D "$SOURCE" -U postgres --data-checksums --auth=trust --encoding=UTF8 --no-locale >"$DEMO_DIR/log/initdb" 2>&1 ||
	die "initdb failed; see $DEMO_DIR/log/initdb"
PGPORT=$(free_port)
start_postgres "$SOURCE" "$PGPORT" "$DEMO_DIR/log/source"
source_pid=$started
ok "running, pid $source_pid"

step "load pgbench scale $SCALE and documents"
"$PGBIN/createdb" -h "$SOCK" -p "$PGPORT" -U postgres bench
"$PGBIN/pgbench" -h "$SOCK" -p "$PGPORT" -U postgres -i -q -s "$SCALE" bench >"$DEMO_DIR/log/pgbench" 2>&1 || die "pgbench failed"
sql "$PGPORT" postgres "create tablespace archive location '$SPACE'" >/dev/null
sql "$PGPORT" bench "
	create table documents (
		id bigint primary key, title text not null, body jsonb not null, picture bytea, attachment oid
	) tablespace archive" >/dev/null
sql "$PGPORT" bench "
	insert into documents
	select i, repeat('Title ' || i || ' ', 1 + i % 5),
		jsonb_build_object('n', i, 'tags', jsonb_build_array('a' || i % 7, 'b' || i % 11), 'text', repeat(md5(i::text), 1 + i % 40)),
		decode(repeat(md5((i * 7)::text), 1 + i % 20), 'hex'),
		case when i % 500 = 0 then lo_from_bytea(0, decode(repeat(md5(i::text), 4000), 'hex')) end
	from generate_series(1, 60000) i" >/dev/null
sql "$PGPORT" bench "create index on documents using gin (body)" >/dev/null
loaded=$(sql "$PGPORT" postgres "select sum(pg_database_size(oid))::bigint from pg_database")
ok "$(sql "$PGPORT" bench "select count(*) from pgbench_accounts") accounts, 60000 documents" "$loaded"
contents "$PGPORT" >"$DEMO_DIR/log/contents.source"

# ---- the service -------------------------------------------------------------------------------------------------------

step "holdfast serve, host, site, repository, job"
serve
{
	"$HOLDFAST" host add dbhost
	"$HOLDFAST" repository create main --location "$REPO" --kit "$KIT"
	"$HOLDFAST" site add berlin --host dbhost --repository main --data-dir "$SOURCE" \
		--pg-host "$SOCK" --pg-port "$PGPORT" --pg-user postgres --pg-database postgres
	"$HOLDFAST" site test berlin
	"$HOLDFAST" job create --site berlin --name nightly
} >"$DEMO_DIR/log/register" 2>&1 || die "registering failed; see $DEMO_DIR/log/register"
TOKEN=$("$HOLDFAST" token create nightly-script --role operator --site berlin 2>>"$DEMO_DIR/log/register")
ok "$API"

# ---- a vendor's script -------------------------------------------------------------------------------------------------

BASE=$API/data-protection/v2/sites/berlin
get() { curl -fsS -H "Authorization: Bearer $TOKEN" -H 'Accept: application/json' "$1"; }

step "curl: list the jobs, get the job"
JOB=$(get "$BASE/jobs?page=1&page-size=10&job-type=Backup" | jq -e '.[0].job_id') || die "the list of jobs is empty"
get "$BASE/jobs/$JOB" | jq -e '.name == "nightly" and .job_settings.skip_statstics == false' >/dev/null || die "the job is not as created"
ok "job $JOB"

step "curl: execute, poll until SUCCESSFUL"
status=$(curl -sS -o "$DEMO_DIR/log/execute" -D "$DEMO_DIR/log/headers" -w '%{http_code}' -X POST \
	-H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' -d '{"run_type":"FULL"}' "$BASE/jobs/$JOB/execute")
[ "$status" = 202 ] || die "execute answered $status: $(cat "$DEMO_DIR/log/execute")"
EXECUTION=$(awk 'tolower($1)=="x-resource-id:" {gsub("\r",""); print $2}' "$DEMO_DIR/log/headers")
[ -n "$EXECUTION" ] || die "execute gave no x-resource-id"
while :; do
	run=$(get "$BASE/jobs/$JOB/executions" | jq -c --arg e "$EXECUTION" '.[] | select(.execution_id == $e)')
	case $(jq -r .status <<<"$run") in
	SUCCESSFUL) break ;;
	QUEUED | RUNNING) sleep 0.1 ;;
	*) die "execution $EXECUTION: $run" ;;
	esac
done
SET=$(jq -r .saveset_id <<<"$run")
ok "202, execution $EXECUTION, set $SET" "$(jq -r .backup_set_size <<<"$run")"
rows+=("  stored in the repository|-|$(du -sb "$REPO" | awk '{printf "%.1f MiB", $1/1048576}')|-|encrypted, compressed")

# ---- restore, start, compare -------------------------------------------------------------------------------------------

OID=$(sql "$PGPORT" postgres "select oid from pg_tablespace where spcname = 'archive'")
compare() { # compare DIRECTORY LABEL
	local port
	step "$2: pg_verifybackup, start, pg_amcheck"
	"$PGBIN/pg_verifybackup" --quiet "$1" >"$DEMO_DIR/log/verify.$2" 2>&1 || die "pg_verifybackup: $(tail -n 3 "$DEMO_DIR/log/verify.$2")"
	port=$(free_port)
	start_postgres "$1" "$port" "$DEMO_DIR/log/restored.$2"
	sql "$port" bench "create extension if not exists amcheck" >/dev/null
	"$PGBIN/pg_amcheck" --all --install-missing -h "$SOCK" -p "$port" -U postgres >"$DEMO_DIR/log/amcheck.$2" 2>&1 ||
		die "pg_amcheck: $(tail -n 3 "$DEMO_DIR/log/amcheck.$2")"
	ok "starts, no fault found"
	step "$2: rows and hash of every table"
	contents "$port" >"$DEMO_DIR/log/contents.$2"
	diff "$DEMO_DIR/log/contents.source" "$DEMO_DIR/log/contents.$2" >"$DEMO_DIR/log/diff.$2" || die "contents differ: see $DEMO_DIR/log/diff.$2"
	stop_postgres "$started"
	ok "$(grep -c . "$DEMO_DIR/log/contents.$2") tables equal"
}

step "holdfast restore"
"$HOLDFAST" restore "$SET" --to "$DEMO_DIR/restores/first" --tablespace "$OID=$DEMO_DIR/restores/first-archive" --wait \
	>"$DEMO_DIR/log/restore" 2>&1 || die "restore: $(tail -n 3 "$DEMO_DIR/log/restore")"
ok "set $SET" "$(du -sb "$DEMO_DIR/restores" | cut -f1)"
compare "$DEMO_DIR/restores/first" restored

# ---- a reader that we did not write ------------------------------------------------------------------------------------

PASSWORD=$(sed -n 's/^Password: //p' "$KIT")
step "stock restic: check --read-data"
RESTIC_PASSWORD=$PASSWORD restic -q --no-cache -r "$REPO" check --read-data >"$DEMO_DIR/log/restic" 2>&1 || die "restic check: $(tail -n 3 "$DEMO_DIR/log/restic")"
ok "no errors" "$(du -sb "$REPO" | cut -f1)"
step "stock restic: lists the set"
RESTIC_PASSWORD=$PASSWORD restic -q --no-cache -r "$REPO" snapshots --json >"$DEMO_DIR/log/snapshots" 2>&1 || die "restic snapshots failed"
jq -e --arg s "$SET" 'any(.[]; any(.tags[]?; . == "set=" + $s))' "$DEMO_DIR/log/snapshots" >/dev/null || die "restic does not list set $SET"
ok "set $SET is snapshot $(jq -r '.[0].short_id' "$DEMO_DIR/log/snapshots")"

# ---- nothing but the kit -----------------------------------------------------------------------------------------------

step "stop the server, move its state away"
kill -TERM "$serve_pid"
wait "$serve_pid" || die "holdfast serve ended with status $?"
mv "$HOLDFAST_STATE" "$DEMO_DIR/state.away"
ok "gone"

step "holdfast restore --offline with the kit"
"$HOLDFAST" restore --offline --kit "$KIT" "$SET" --to "$DEMO_DIR/offline" --tablespace "$OID=$DEMO_DIR/offline-archive" \
	>"$DEMO_DIR/log/offline" 2>&1 || die "offline restore: $(tail -n 3 "$DEMO_DIR/log/offline")"
ok "set $SET" "$(du -sb "$DEMO_DIR/offline" "$DEMO_DIR/offline-archive" | awk '{s+=$1} END {print s}')"
compare "$DEMO_DIR/offline" offline

table
echo "All of it held."

if [ -n "$KEEP" ]; then
	mv "$DEMO_DIR/state.away" "$HOLDFAST_STATE"
	serve
	kept=1
	cat <<-TXT

		The server is left running, with its state back in place:
		  holdfast    $API
		  token       $TOKEN
		  state       HOLDFAST_STATE=$HOLDFAST_STATE
		  binary      $HOLDFAST
		  PostgreSQL  psql -h $SOCK -p $PGPORT -U postgres bench
		Stop both with: kill $serve_pid $source_pid; then remove $DEMO_DIR
	TXT
fi
