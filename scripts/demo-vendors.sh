#!/usr/bin/env bash
# What the vendors' pages document, sent by curl to one server with one PostgreSQL behind it: Teradata Enterprise,
# Teradata Lake and Commvault. The same executions are seen from each page in its own words, and are one row in the
# store. Prints a table page, call, status, result; exits 0 only if everything held.
#
# Usage: make demo-vendors [KEEP=1]
#   KEEP=1   leaves the server and PostgreSQL running and prints their addresses
set -euo pipefail

DEMO=demo-vendors
# shellcheck source=scripts/demo-common.sh
. "$(dirname "$0")/demo-common.sh"

SOURCE=$DEMO_DIR/restores/source # below a restore root, so that it may be restored in place
REPO=$DEMO_DIR/repository
BODY=$DEMO_DIR/log/body
HEAD=$DEMO_DIR/log/head

# ---- the table of results ----------------------------------------------------------------------------------------------

page=setup
name=
rows=()
row() { # row STATUS RESULT
	rows+=("$page|$name|$1|$2")
	printf '%-10s  %-66s  %6s  %s\n' "$page" "$name" "$1" "$2" >&2
}
table() {
	local r
	printf '%-10s  %-66s  %6s  %s\n' PAGE CALL STATUS RESULT
	for r in "${rows[@]}"; do
		IFS='|' read -r a b c d <<<"$r"
		printf '%-10s  %-66s  %6s  %s\n' "$a" "$b" "$c" "$d"
	done
}
die() {
	table
	printf '%-10s  %-66s  %6s  %s\n' "$page" "$name" - "FAILED: $*"
	exit 1
}

# call sends a request as curl does, and notes status, headers and body.
call() { # call NAME STATUS CURL-ARGUMENT...
	local want=$2
	name=$1
	shift 2
	status=$(curl -sS -o "$BODY" -D "$HEAD" -w '%{http_code}' "$@") || die "curl failed"
	[ "$status" = "$want" ] || die "got $status, want $want: $(head -c 300 "$BODY")"
}
# holds checks the body by jq.
holds() { # holds FILTER [JQ-ARGUMENT...]
	local filter=$1
	shift
	jq -e "$@" "$filter" "$BODY" >/dev/null 2>&1 || die "not so: $filter: $(head -c 300 "$BODY")"
}
value() { jq -r "$1" "$BODY"; }
header() { awk -v h="$1:" 'tolower($1) == h {sub("\r", ""); print $2}' "$HEAD"; }

# ---- one PostgreSQL, one server ----------------------------------------------------------------------------------------

name="initdb, pgbench"
"$PGBIN/initdb" -D "$SOURCE" -U postgres --data-checksums --auth=trust --encoding=UTF8 --no-locale >"$DEMO_DIR/log/initdb" 2>&1 ||
	die "initdb failed; see $DEMO_DIR/log/initdb"
PGPORT=$(free_port)
start_postgres "$SOURCE" "$PGPORT" "$DEMO_DIR/log/source"
source_pid=$started
"$PGBIN/createdb" -h "$SOCK" -p "$PGPORT" -U postgres bench
"$PGBIN/pgbench" -h "$SOCK" -p "$PGPORT" -U postgres -i -q -s 5 bench >"$DEMO_DIR/log/pgbench" 2>&1 || die "pgbench failed"
row - "PostgreSQL $PG_MAJOR, $(sql "$PGPORT" bench "select count(*) from pgbench_accounts") accounts"

name="holdfast serve, host, site, repository, job, users, keys"
serve
{
	"$HOLDFAST" host add pgsrv01
	"$HOLDFAST" repository create main --location "$REPO" --kit "$DEMO_DIR/recovery.kit"
	"$HOLDFAST" site add berlin --host pgsrv01 --repository main --data-dir "$SOURCE" \
		--pg-host "$SOCK" --pg-port "$PGPORT" --pg-user postgres --pg-database postgres
	"$HOLDFAST" job create --site berlin --name default
	"$HOLDFAST" account alias add default bxxxx-e1
	printf 'correct horse battery\n' | "$HOLDFAST" user create backup --role operator --password-stdin
	printf 'look but do not touch\n' | "$HOLDFAST" user create viewer --role reader --password-stdin
	openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$DEMO_DIR/backup.key"
	openssl pkey -in "$DEMO_DIR/backup.key" -pubout -out "$DEMO_DIR/backup.pub"
	"$HOLDFAST" key add backup laptop --public-key "$DEMO_DIR/backup.pub"
} >"$DEMO_DIR/log/register" 2>&1 || die "registering failed; see $DEMO_DIR/log/register"
TOKEN=$("$HOLDFAST" token create script --role admin 2>>"$DEMO_DIR/log/register")
PAT=$("$HOLDFAST" pat create backup --role operator 2>>"$DEMO_DIR/log/register")
row - "$API"

# jwt signs the token that the Lake pages document: RS256, with the PAT inside.
jwt() { # jwt CLAIM-NAME-OF-THE-ORGANISATION
	local now head payload
	now=$(date +%s)
	b64() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }
	head=$(printf '{"alg":"RS256","typ":"JWT","kid":"laptop"}' | b64)
	payload=$(jq -cn --arg org "$1" --arg pat "$PAT" --argjson now "$now" \
		'{aud: ["td:service:authentication"], exp: ($now + 3600), iat: $now, iss: "wiki", ($org): "default", "multi-use": true, pat: $pat, sub: "backup"}' |
		tr -d '\n' | b64)
	printf '%s.%s.%s' "$head" "$payload" "$(printf '%s.%s' "$head" "$payload" | openssl dgst -sha256 -sign "$DEMO_DIR/backup.key" -binary | b64)"
}

wait_for() { # wait_for EXECUTION: until the Enterprise page says that it is over
	local word
	for _ in $(seq 600); do
		word=$(curl -fsS -H "Authorization: Bearer $TOKEN" "$API/data-protection/v2/sites/berlin/executions" |
			jq -r --arg e "$1" '.[] | select(.execution_id == $e) | .status')
		case $word in
		QUEUED | RUNNING | ABORTING) sleep 0.1 ;;
		SUCCESSFUL) return ;;
		*) die "execution $1 is $word" ;;
		esac
	done
	die "execution $1 did not end"
}

# ---- Teradata VantageCloud Enterprise ----------------------------------------------------------------------------------

page=Enterprise
E=$API/data-protection/v2/sites/berlin
auth=(-H "Authorization: Bearer $TOKEN")
call "GET /sites/berlin/jobs" 200 "${auth[@]}" "$E/jobs"
holds '.[0].name == "default" and .[0].backup_mechanism == "DSA"'
JOB=$(value '.[0].job_id')
row "$status" "job $JOB"
call "GET /sites/berlin/jobs/$JOB" 200 "${auth[@]}" "$E/jobs/$JOB"
holds '.job_settings.skip_statstics == false'
row "$status" "$(value '.name') with job_settings"
call "POST /sites/berlin/jobs/$JOB/execute {\"run_type\":\"FULL\"}" 202 "${auth[@]}" -H 'Content-Type: application/json' \
	--data '{"run_type":"FULL"}' "$E/jobs/$JOB/execute"
FULL=$(header x-resource-id)
row "$status" "x-resource-id: $FULL"
wait_for "$FULL"
call "GET /sites/berlin/executions" 200 "${auth[@]}" "$E/executions"
holds '.[0].execution_id == $e and .[0].status == "SUCCESSFUL" and .[0].run_type == "FULL"' --arg e "$FULL"
SET=$(value '.[0].saveset_id')
row "$status" "$(value '.[0].status'), saveset $SET, $(value '.[0].backup_set_size') bytes"
call "GET /sites/berlin/jobs/$JOB/executions" 200 "${auth[@]}" "$E/jobs/$JOB/executions"
holds 'length == 1'
row "$status" "1 execution"
call "POST /sites/berlin/jobs/$JOB/schedules" 201 "${auth[@]}" --data '{"schedule_expression":"30 1 * * *","run_type":"DELTA"}' "$E/jobs/$JOB/schedules"
row "$status" "schedule $(header x-resource-id)"
call "GET /sites/berlin/jobs/$JOB (next_run_time)" 200 "${auth[@]}" "$E/jobs/$JOB"
holds '.next_run_time | test("T01:30:00.000000Z$")'
row "$status" "$(value .next_run_time)"
call "PUT /sites/berlin/jobs/$JOB/retained-copies/$SET" 200 "${auth[@]}" -X PUT --data '{"is_saveset_retained":true}' "$E/jobs/$JOB/retained-copies/$SET"
holds '.is_saveset_retained == true'
row "$status" "saveset $SET is protected"

# ---- Teradata VantageCloud Lake ----------------------------------------------------------------------------------------

page=Lake
L=$API/api/accounts/bxxxx-e1/baas
JWT=$(jwt org_key)
lake=(--header 'Accept: application/json' --header "Authorization: Bearer $JWT")
call "GET /api/my-organization" 200 "${lake[@]}" "$API/api/my-organization"
row "$status" "$(jq -c . "$BODY" | head -c 60)"
call "GET /baas/jobs?page=1&page-size=10&backup-type=BACKUP" 200 --request GET "${lake[@]}" --url "$L/jobs?page=1&page-size=10&backup-type=BACKUP"
holds 'type == "array" and .[0].job_id == ($j | tonumber)' --arg j "$JOB"
row "$status" "job $(value '.[0].job_id') of $(value '.[0].account_id')"
call "GET /baas/jobs/$JOB/" 200 --request GET "${lake[@]}" --url "$L/jobs/$JOB/"
row "$status" "the trailing slash is the page's"
call "POST /baas/jobs/$JOB/execute {\"run_type\":\"DELTA\"}" 202 --request POST "${lake[@]}" --header 'Content-Type: application/json' \
	--data '{"run_type":"DELTA"}' --url "$L/jobs/$JOB/execute"
DELTA=$(header x-resource-id)
row "$status" "x-resource-id: $DELTA"
wait_for "$DELTA"
call "GET /baas/executions" 200 "${lake[@]}" "$L/executions"
holds '.[0].execution_id == $d and .[0].run_type == "DELTA" and .[0].parent_execution_id == $f' --arg d "$DELTA" --arg f "$FULL"
row "$status" "DELTA $DELTA on FULL $FULL"
call "GET /baas/jobs, token signed with org_id" 200 --header "Authorization: Bearer $(jwt org_id)" "$L/jobs"
row "$status" "both claims are good"
call "GET /baas/jobs, somebody else's account" 404 "${lake[@]}" "$API/api/accounts/acc-9999/baas/jobs"
row "$status" "$(value .code)"

# ---- Commvault ---------------------------------------------------------------------------------------------------------

page=Commvault
C=$API/commandcenter/api
json=(-H 'Content-Type: application/json' -H 'Accept: application/json')
login() { # login USER PASSWORD: the token
	curl -fsS "${json[@]}" --data "$(jq -cn --arg u "$1" --arg p "$2" '{username: $u, password: $p}')" "$C/Login" | jq -r .token
}
request() { # request INSTANCE LEVEL: the page's body, filled
	jq -cn --arg i "$1" --arg l "$2" '{taskInfo: {
		associations: [{subclientId: 0, displayName: "string", clientId: 0, instanceName: $i, appName: "PostgreSQL", applicationId: 0,
			clientName: "pgsrv01", backupsetId: 0, instanceId: 0, subclientName: "string", backupsetName: "string"}],
		task: {taskType: 0},
		subTasks: [{subTask: {subTaskType: 0, operationType: 0}, options: {
			backupOpts: {backupLevel: $l, incrementalDataWithLogs: true}, commonOpts: {notifyUserOnJobCompletion: true},
			adminOpts: {clientInstallOption: {installerOption: {User: {userId: 0, userName: "string"}}}}}}]}}'
}
call "POST /Login" 200 "${json[@]}" --data '{"username":"backup","password":"correct horse battery"}' "$C/Login"
holds '.token | startswith("QSDK ")'
CV=$(value .token)
row "$status" "token QSDK …, user $(value .userName)"
call "POST /Login, wrong password" 200 "${json[@]}" --data '{"username":"backup","password":"wrong"}' "$C/Login"
holds '.errList | length == 1'
row "$status" "$(value '.errList[0].errLogMessage')"
call "POST /Createtask, no token" 401 "${json[@]}" --data "$(request berlin FULL)" "$C/Createtask"
holds '. == {"errorMessage": "Access Denied", "errorCode": 5}'
row "$status" "$(jq -c . "$BODY")"
call "POST /Createtask, empty body" 400 "${json[@]}" -H "Authtoken: $CV" --data '' "$C/Createtask"
holds '. == "Request body is empty or format is invalid"'
row "$status" "$(cat "$BODY")"
call "POST /Createtask, a user that may only look" 403 "${json[@]}" -H "Authtoken: $(login viewer 'look but do not touch')" \
	--data "$(request berlin FULL)" "$C/Createtask"
holds '.errorCode == 587203022'
row "$status" "$(value .errorCode)"
call "POST /Createtask, unknown instance" 500 "${json[@]}" -H "Authtoken: $CV" --data "$(request nowhere FULL)" "$C/Createtask"
holds '. == {"errorMessage": "Failed to start backups as no eligible subclients were found. ", "errorCode": 587207178}'
row "$status" "$(value .errorCode)"
call "POST /Createtask, FULL" 200 -L -X POST "${json[@]}" -H "Authtoken: $CV" --data-raw "$(request berlin FULL)" "$C/Createtask"
holds '(.taskId | type == "number") and (.jobIds | length == 1) and (.jobIds[0] | type == "string")'
CVJOB=$(value '.jobIds[0]')
row "$status" "$(jq -c . "$BODY")"
wait_for "$CVJOB"
call "GET /Job/$CVJOB" 200 -H "Authtoken: $CV" "$C/Job/$CVJOB"
holds '.jobs[0].jobSummary | .status == "Completed" and .backupLevelName == "Full" and .percentComplete == 100'
row "$status" "$(value '.jobs[0].jobSummary.status')"
call "GET /webconsole/api//client (any case, a double slash)" 200 -H "Authtoken: $CV" "$API/webconsole/api//client"
CLIENT=$(value '[.clientProperties[].client.clientEntity | select(.clientName == "pgsrv01")][0].clientId')
row "$status" "client $CLIENT"

# ---- one execution, three pages, one row -------------------------------------------------------------------------------

page="all three"
for id in "$FULL" "$DELTA" "$CVJOB"; do
	name="execution $id"
	enterprise=$(curl -fsS "${auth[@]}" "$E/jobs/$JOB/executions/$id" | jq -r '"\(.status) \(.run_type)"')
	lake_word=$(curl -fsS "${lake[@]}" "$L/jobs/$JOB/executions/$id" | jq -r '"\(.status) \(.run_type)"')
	commvault=$(curl -fsS -H "Authtoken: $CV" "$C/Job/$id" | jq -r '.jobs[0].jobSummary | "\(.status) \(.backupLevelName)"')
	stored=$("$HOLDFAST" execution show "$id" -o json | jq -r '"\(.outcome) \(.run_type)"')
	[ "$enterprise" = "$lake_word" ] || die "Enterprise says $enterprise, Lake $lake_word"
	row - "store: $stored; Enterprise, Lake: $enterprise; Commvault: $commvault"
done
name="executions in the store"
count=$("$HOLDFAST" execution list -o json | jq length)
[ "$count" = 3 ] || die "got $count rows, want 3"
row - "$count rows"

# ---- restore in place through Commvault --------------------------------------------------------------------------------

page=Commvault
contents "$PGPORT" >"$DEMO_DIR/log/contents.before"
restore=$(jq -cn '{taskInfo: {
	associations: [{clientName: "pgsrv01", instanceName: "berlin", appName: "PostgreSQL", backupsetName: "FSBasedBackupSet"}],
	task: {taskType: 1, initiatedFrom: 2}, subTasks: [{subTask: {subTaskType: 3, operationType: 1001}, options: {restoreOptions: {
		browseOption: {commCellId: 2, backupset: {clientName: "pgsrv01", appName: "postgresql"}, timeRange: {}},
		destination: {destClient: {clientName: "pgsrv01"}, destinationInstance: {clientName: "pgsrv01", instanceName: "berlin", appName: "postgresql"}},
		fileOption: {sourceItem: ["/data"], browseFilters: []},
		postgresRstOption: {fsBackupSetRestore: true, tableLevelRestore: false, refTime: {}}}}}]}}')
name="PostgreSQL is damaged and stopped"
sql "$PGPORT" bench "truncate pgbench_accounts" >/dev/null
stop_postgres "$source_pid"
row - "pgbench_accounts is gone"
call "POST /Createtask, restore in place" 200 "${json[@]}" -H "Authtoken: $CV" --data-raw "$restore" "$C/Createtask"
RESTORE=$(value '.jobIds[0]')
wait_for "$RESTORE"
row "$status" "job $RESTORE"
name="PostgreSQL starts on the restored directory"
start_postgres "$SOURCE" "$PGPORT" "$DEMO_DIR/log/restored"
source_pid=$started
contents "$PGPORT" >"$DEMO_DIR/log/contents.after"
diff "$DEMO_DIR/log/contents.before" "$DEMO_DIR/log/contents.after" >"$DEMO_DIR/log/diff" || die "contents differ: see $DEMO_DIR/log/diff"
row - "$(grep -c . "$DEMO_DIR/log/contents.after") tables equal by rows and hash"
page=Enterprise
call "GET /sites/berlin/restores" 200 "${auth[@]}" "$E/restores"
holds '.[0].execution_id == $r and .[0].job_type == "RESTORE" and .[0].status == "SUCCESSFUL"' --arg r "$RESTORE"
row "$status" "the same restore, seen from Enterprise"

table
echo "All of it held."

if [ -n "$KEEP" ]; then
	kept=1
	cat <<-TXT

		The server is left running:
		  holdfast    $API
		  token       $TOKEN
		  user        backup, password: correct horse battery
		  state       HOLDFAST_STATE=$HOLDFAST_STATE
		  PostgreSQL  psql -h $SOCK -p $PGPORT -U postgres bench
		Stop both with: kill $serve_pid $source_pid; then remove $DEMO_DIR
	TXT
fi
