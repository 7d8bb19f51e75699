# What the demonstrations share: a place of their own, PostgreSQL servers, a holdfast, and an end to all of it.
# Sourced by scripts that have set the name of the demonstration in DEMO.
# shellcheck shell=bash

KEEP=${KEEP:-}
PG_MAJOR=${PG_MAJOR:-15}
PGBIN=${PGBIN:-/usr/lib/postgresql/$PG_MAJOR/bin}

# settle goes on as a user that PostgreSQL takes: it refuses to run as root. As root it copies what is needed to a place
# that the user postgres can read, runs the script again there, and does not return.
settle() { # settle SCRIPT
	[ -z "${DEMO_DIR:-}" ] || return 0
	local here script=$1 code=0
	here=$(cd "$(dirname "$script")/.." && pwd)
	DEMO_DIR=$(mktemp -d "/var/tmp/holdfast-$DEMO.XXXXXX")
	mkdir "$DEMO_DIR/bin" "$DEMO_DIR/scripts"
	cp "$here"/bin/holdfast* "$DEMO_DIR/bin/"
	cp "$here"/scripts/demo*.sh "$DEMO_DIR/scripts/"
	script=$DEMO_DIR/scripts/$(basename "$script")
	export DEMO_DIR KEEP PG_MAJOR PGBIN
	if [ "$(id -u)" = 0 ]; then
		chown -R postgres "$DEMO_DIR"
		chmod 755 "$DEMO_DIR"
		cd "$DEMO_DIR"
		runuser -u postgres -- env HOME="$DEMO_DIR" bash "$script" || code=$?
	else
		cd "$DEMO_DIR"
		HOME="$DEMO_DIR" bash "$script" || code=$?
	fi
	if [ -z "$KEEP" ]; then
		if [ "$code" = 0 ]; then rm -rf "$DEMO_DIR"; else echo "$DEMO: logs are in $DEMO_DIR" >&2; fi
	fi
	exit "$code"
}

settle "$0"

HOLDFAST=$DEMO_DIR/bin/holdfast
export HOLDFAST_STATE=$DEMO_DIR/state
SOCK=$DEMO_DIR/run
mkdir -p "$SOCK" "$DEMO_DIR/restores" "$DEMO_DIR/log"
pids=()

cleanup() {
	local p
	for p in "${pids[@]:-}"; do
		[ -n "$p" ] && kill -INT "$p" 2>/dev/null || true
	done
	for p in "${pids[@]:-}"; do
		while [ -n "$p" ] && kill -0 "$p" 2>/dev/null; do sleep 0.05; done
	done
}
trap '[ -n "$KEEP" ] && [ "${kept:-}" = 1 ] || cleanup' EXIT # a script that leaves them running sets kept

free_port() { # a TCP port that nobody listens on now
	local p
	while :; do
		p=$((20000 + RANDOM % 20000))
		(exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo "$p"; return; }
	done
}

start_postgres() { # start_postgres DATADIR PORT LOG
	"$PGBIN/postgres" -D "$1" -p "$2" -k "$SOCK" -c listen_addresses= >"$3" 2>&1 &
	started=$!
	pids+=("$started")
	local i
	for i in $(seq 600); do
		"$PGBIN/pg_isready" -q -h "$SOCK" -p "$2" && return
		kill -0 "$started" 2>/dev/null || die "PostgreSQL did not start; see $3"
		sleep 0.1
	done
	die "PostgreSQL did not become ready; see $3"
}
stop_postgres() { kill -INT "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.05; done; }
sql() { # sql PORT DATABASE STATEMENT
	psql -X -q -A -t -v ON_ERROR_STOP=1 -h "$SOCK" -p "$1" -U postgres -d "$2" -c "$3"
}

contents() { # every table of every database: row count and a hash of its content that does not depend on the order
	local port=$1 db t
	for db in $(sql "$port" postgres "select datname from pg_database where datallowconn order by 1"); do
		while read -r t; do
			[ -n "$t" ] || continue
			echo "$db $t $(sql "$port" "$db" "select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from $t t")"
		done < <(sql "$port" "$db" "select format('%I.%I', schemaname, tablename) from pg_tables
			where schemaname not in ('pg_catalog', 'information_schema') order by 1")
		echo "$db large objects $(sql "$port" "$db" "select count(*), coalesce(sum(hashtextextended(loid::text || pageno || encode(data, 'hex'), 0)::numeric), 0) from pg_largeobject")"
	done
}

APIPORT=$(free_port)
API=http://127.0.0.1:$APIPORT
serve() { # serve [FLAG...]
	"$HOLDFAST" serve --listen "127.0.0.1:$APIPORT" --restore-root "$DEMO_DIR/restores" "$@" >>"$DEMO_DIR/log/serve" 2>&1 &
	serve_pid=$!
	pids+=("$serve_pid")
	local i
	for i in $(seq 300); do
		curl -fsS "$API/readyz" >/dev/null 2>&1 && return
		kill -0 "$serve_pid" 2>/dev/null || die "holdfast serve ended; see $DEMO_DIR/log/serve"
		sleep 0.1
	done
	die "holdfast serve is not ready; see $DEMO_DIR/log/serve"
}
