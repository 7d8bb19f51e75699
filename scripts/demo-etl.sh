#!/usr/bin/env bash
# ETL on real servers: orders and customers in one PostgreSQL; a daily aggregate, an upserted dimension, a Parquet export
# and a service that follows the orders by counter in another; everything driven by curl through BMC's calls, and checked
# row by row at the end. Prints one table; exits 0 only if everything held.
#
# Usage: make demo-etl [KEEP=1]
set -euo pipefail

DEMO=demo-etl
# shellcheck source=scripts/demo-common.sh
. "$(dirname "$0")/demo-common.sh"

LAKE=$DEMO_DIR/lake
mkdir -p "$LAKE"

# ---- the table of results ----------------------------------------------------------------------------------------------

rows=()
began=
step() { name=$1; began=$(date +%s.%N); printf '… %s\n' "$name" >&2; }
ok() { # ok RESULT
	rows+=("$name|$(awk -v a="$began" -v b="$(date +%s.%N)" 'BEGIN{printf "%.2f", b-a}')|$1")
}
table() {
	printf '%-52s %8s  %s\n' STEP SECONDS RESULT
	local r
	for r in "${rows[@]}"; do
		IFS='|' read -r a b c <<<"$r"
		printf '%-52s %8s  %s\n' "$a" "$b" "$c"
	done
}
die() {
	table
	printf '%-52s %8s  %s\n' "$name" - "FAILED: $*"
	exit 1
}
same() { # same WHAT GOT WANTED
	[ "$2" = "$3" ] || die "$1: got $2, want $3"
}

# ---- two servers, one with data ----------------------------------------------------------------------------------------

step "two PostgreSQL $PG_MAJOR servers"
for server in shop dwh; do
	"$PGBIN/initdb" -D "$DEMO_DIR/$server" -U postgres --auth=trust --encoding=UTF8 --no-locale >"$DEMO_DIR/log/initdb-$server" 2>&1 ||
		die "initdb failed; see $DEMO_DIR/log/initdb-$server"
done
SHOP=$(free_port)
start_postgres "$DEMO_DIR/shop" "$SHOP" "$DEMO_DIR/log/shop"
DWH=$(free_port)
start_postgres "$DEMO_DIR/dwh" "$DWH" "$DEMO_DIR/log/dwh"
ok "shop and dwh are running"

step "customers and orders in the shop"
sql "$SHOP" postgres "
	create table customers (id int primary key, name text not null, region text not null, updated_at timestamptz not null);
	create table orders (id bigint generated always as identity primary key, customer_id int not null references customers,
		sku text not null, qty int not null, price numeric(12,2) not null, status text not null, ordered_at timestamptz not null);
	insert into customers select i, 'Customer ' || i, (array['north','south','east','west'])[1 + i % 4],
		timestamptz '2026-01-01' + i * interval '1 minute' from generate_series(1, 5000) i;
	insert into orders (customer_id, sku, qty, price, status, ordered_at)
		select 1 + i % 5000, 'sku-' || i % 300, 1 + i % 7, (i % 9973) / 100.0,
			case when i % 10 = 0 then 'cancelled' else 'paid' end, timestamptz '2026-01-01' + i * interval '20 seconds'
		from generate_series(1, 200000) i"
sql "$DWH" postgres "
	create schema mart;
	create table mart.daily (day date, region text, orders bigint, total numeric(18,2), primary key (day, region));
	create table mart.customers (id int primary key, name text, region text, updated_at timestamptz);
	create table mart.orders (id bigint, customer_id int, sku text, qty int, price numeric(12,2), status text, ordered_at timestamptz)"
ok "5000 customers, 200000 orders"

# ---- holdfast, two sites, three definitions ----------------------------------------------------------------------------

step "holdfast serve"
serve --etl-root "$LAKE"
{
	"$HOLDFAST" host add dbhost
	"$HOLDFAST" site add shop --host dbhost --data-dir "$DEMO_DIR/shop" --pg-host "$SOCK" --pg-port "$SHOP" --pg-user postgres
	"$HOLDFAST" site add dwh --host dbhost --data-dir "$DEMO_DIR/dwh" --pg-host "$SOCK" --pg-port "$DWH" --pg-user postgres
} >"$DEMO_DIR/log/register" 2>&1 || die "see $DEMO_DIR/log/register"
ok "serving, sites shop and dwh"

cat >"$DEMO_DIR/daily.yaml" <<EOF
apiVersion: holdfast/etl/v1
name: daily
description: turnover by day and region, and an export of it
parameters:
  skip_status: {type: text, default: cancelled}
connections:
  shop: {site: shop}
  dwh: {site: dwh}
  lake: {directory: $LAKE}
extract:
  - name: orders
    connection: shop
    query: select customer_id, qty, price, ordered_at from orders where status <> :skip_status
  - name: customers
    connection: shop
    table: customers
    columns: [id, region]
transform:
  - name: daily
    in: engine
    sql: >
      select cast(o.ordered_at as date) as day, c.region, count(*) as orders,
             cast(sum(o.qty * o.price) as decimal(18,2)) as total
      from orders o join customers c on c.id = o.customer_id group by 1, 2
load:
  - {name: table, from: daily, connection: dwh, table: mart.daily, mode: replace}
  - {name: export, from: daily, connection: lake, output: {path: daily, format: parquet}}
EOF
cat >"$DEMO_DIR/customers.yaml" <<'EOF'
apiVersion: holdfast/etl/v1
name: customers
connections:
  shop: {site: shop}
  dwh: {site: dwh}
extract:
  - name: customers
    connection: shop
    table: customers
    columns: [id, name, region, updated_at]
    incremental: {strategy: column, column: updated_at, tie: id}
load:
  - {from: customers, connection: dwh, table: mart.customers, mode: upsert, key: [id]}
EOF
cat >"$DEMO_DIR/follow.yaml" <<'EOF'
apiVersion: holdfast/etl/v1
name: follow
mode: service
service: {interval: 500ms, idle_backoff: 2s}
connections:
  shop: {site: shop}
  dwh: {site: dwh}
extract:
  - name: orders
    connection: shop
    table: orders
    incremental: {strategy: column, column: id}
load:
  - {from: orders, connection: dwh, table: mart.orders}
batch: {rows: 50000}
EOF
declare -A etl
for one in daily customers follow; do
	step "definition $one"
	"$HOLDFAST" etl validate "$DEMO_DIR/$one.yaml" >/dev/null || die "the definition is not valid"
	etl[$one]=$("$HOLDFAST" etl create "$DEMO_DIR/$one.yaml" -o json | jq .id)
	ok "ETL ${etl[$one]}"
done

# ---- BMC's calls -------------------------------------------------------------------------------------------------------

step "an access key, and a token for it"
printf 'correct horse battery\n' | "$HOLDFAST" user create etl --role operator --password-stdin >"$DEMO_DIR/log/user" 2>&1 || die "see $DEMO_DIR/log/user"
"$HOLDFAST" accesskey create etl demo -o json >"$DEMO_DIR/key.json" || die "no access key"
jq '{access_key, access_secret_key}' "$DEMO_DIR/key.json" >"$DEMO_DIR/login.json"
TOKEN=$(curl -fsS -H 'Content-Type: application/json' -d @"$DEMO_DIR/login.json" "$API/ims/api/v1/access_keys/login" | jq -r .json_web_token)
[ "$TOKEN" != null ] && [ -n "$TOKEN" ] || die "the login gave no token"
ok "json_web_token of ${#TOKEN} characters"

call() { # call NAME VERB [BODY]
	curl -fsS -X POST -H 'Content-Type: application/json' -H "Authorization: Bearer $TOKEN" \
		-d "${3:-}" "$API/opt/api/v1/backend/etls/${etl[$1]}/$2"
}
status() { curl -fsS -H "Authorization: Bearer $TOKEN" "$API/opt/api/v1/backend/etls/${etl[$1]}/status"; }
await() { # await NAME STATUS
	local i s
	for i in $(seq 600); do
		s=$(status "$1")
		[ "$(jq -r .status <<<"$s")" = "$2" ] && { echo "$s"; return; }
		sleep 0.1
	done
	die "$1 did not come to $2: $s"
}
run() { # run NAME EXIT_CODE [BODY]: run a batch ETL to its end
	local answer
	answer=$(call "$1" run "${3:-}")
	[ "$(jq -r .request_status <<<"$answer")" = OK ] || die "run was answered $answer"
	id=$(jq -r .task_execution_request_id <<<"$answer")
	local s
	s=$(await "$1" ENDED)
	same "exit code of $1" "$(jq -r .exit_code <<<"$s")" "$2"
}

step "POST …/${etl[daily]}/run (DuckDB: join, aggregate)"
run daily OK
ok "execution $id: mart.daily has $(sql "$DWH" postgres 'select count(*) from mart.daily') rows"

step "POST …/${etl[customers]}/run (upsert by key)"
run customers OK
ok "execution $id: $(sql "$DWH" postgres 'select count(*) from mart.customers') customers"

step "POST …/${etl[follow]}/run (service)"
answer=$(call follow run)
same "id of a service" "$(jq -r .task_execution_request_id <<<"$answer")" -1
await follow SERVICE_ON >/dev/null
ok "$(jq -c . <<<"$answer")"

step "orders and customers change meanwhile"
sql "$SHOP" postgres "update customers set region = 'centre', updated_at = timestamptz '2026-06-01' + id * interval '1 second' where id % 50 = 0;
	insert into customers select i, 'Customer ' || i, 'new', timestamptz '2026-06-02' + i * interval '1 second' from generate_series(5001, 5100) i"
for i in 1 2 3 4 5; do
	sql "$SHOP" postgres "insert into orders (customer_id, sku, qty, price, status, ordered_at)
		select 1 + i % 5100, 'late-' || $i, 1, 9.99, 'paid', timestamptz '2026-06-01' + i * interval '1 second' from generate_series(1, 4000) i"
	sleep 0.3
done
ok "100 customers changed, 100 new, 20000 new orders"

step "kill -9 of holdfast while the service runs"
kill -9 "$serve_pid"
wait "$serve_pid" 2>/dev/null || true
sql "$SHOP" postgres "insert into orders (customer_id, sku, qty, price, status, ordered_at)
	select 1 + i % 5100, 'after', 1, 9.99, 'paid', timestamptz '2026-06-03' + i * interval '1 second' from generate_series(1, 5000) i"
serve --etl-root "$LAKE"
for i in $(seq 600); do
	[ "$(sql "$DWH" postgres 'select count(*) from mart.orders')" = 225000 ] && break
	sleep 0.1
done
same "orders in the warehouse" "$(sql "$DWH" postgres 'select count(*), count(distinct id) from mart.orders')" "225000|225000"
ok "it went on: 225000 orders, none twice"

step "POST …/${etl[follow]}/stop"
answer=$(call follow stop)
same "id of a service" "$(jq -r .task_execution_request_id <<<"$answer")" -1
await follow SERVICE_OFF >/dev/null
ok "$(jq -c . <<<"$answer")"

step "both batch ETLs again"
run customers OK
run daily OK
ok "execution $id"

step "POST …/${etl[daily]}/run with a property, simulated"
run daily OK '{"run_execution_properties": {"skip_status": "none at all", "simulation.mode": "true"}}'
ok "execution $id: nothing was committed"

step "POST …/999999/run"
code=$(curl -sS -o "$DEMO_DIR/out" -w '%{http_code}' -X POST -H "Authorization: Bearer $TOKEN" "$API/opt/api/v1/backend/etls/999999/run")
same "HTTP status" "$code" 400
grep -q 'ETL not found' "$DEMO_DIR/out" || die "the answer was $(cat "$DEMO_DIR/out")"
ok "$code $(cat "$DEMO_DIR/out")"

# ---- row by row --------------------------------------------------------------------------------------------------------

rowhash="select count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) from"
step "row by row: the dimension"
same customers "$(sql "$DWH" postgres "$rowhash mart.customers t")" \
	"$(sql "$SHOP" postgres "$rowhash (select id, name, region, updated_at from customers) t")"
ok "equal, $(sql "$DWH" postgres 'select count(*) from mart.customers') rows"

step "row by row: the orders that the service followed"
same orders "$(sql "$DWH" postgres "$rowhash mart.orders t")" \
	"$(sql "$SHOP" postgres "$rowhash (select id, customer_id, sku, qty, price, status, ordered_at from orders) t")"
ok "equal, $(sql "$DWH" postgres 'select count(*) from mart.orders') rows"

step "row by row: the aggregate"
wanted="(select (ordered_at at time zone 'UTC')::date, region, count(*), sum(qty * price)::numeric(18,2)
	from orders o join customers c on c.id = o.customer_id where status <> 'cancelled' group by 1, 2)"
same aggregate "$(sql "$DWH" postgres "$rowhash mart.daily t")" "$(sql "$SHOP" postgres "$rowhash $wanted t")"
ok "equal, $(sql "$DWH" postgres 'select count(*) from mart.daily') rows"

step "the Parquet export"
newest=$(ls -d "$LAKE"/daily/v* | sort | tail -1)
same "rows in the manifest" "$(jq '[.files[].rows] | add' "$newest/manifest.json")" "$(sql "$DWH" postgres 'select count(*) from mart.daily')"
ok "$(basename "$newest"): $(jq -c '.files[0] | {name, rows, size}' "$newest/manifest.json")"

table
echo "All of it held."
if [ -n "$KEEP" ]; then
	kept=1
	echo "holdfast: $API   shop: psql -h $SOCK -p $SHOP -U postgres   dwh: psql -h $SOCK -p $DWH -U postgres"
fi
