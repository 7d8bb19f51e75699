#!/usr/bin/env bash
# peer_bench.sh - measure PostgreSQL backup tools side by side on one machine.
#
#   peer_bench.sh WORKDIR [options]
#
# What it does, all below WORKDIR:
#   1. creates a PostgreSQL cluster with data checksums, pgbench tables at the
#      given scale and a "docs" table of semi-compressible text + jsonb rows;
#   2. measures the machine's own limits (disk, memory copy, hash, compression);
#   3. full backups, round robin over all tools (so drift hits all alike),
#      N warm rounds and C cold rounds (page cache dropped);
#   4. restores of the full backup to an empty directory, then a start-up check
#      (pg_ctl start, row counts and sums compared with the source);
#   5. incremental backups of the unchanged cluster; then changes 1 % of
#      pgbench_accounts clustered, then 1 % spread at random (fixed hash, so
#      always the same rows), and incremental backups after each against the
#      very same state of the cluster;
#   6. restore of the incremental chain + start-up check;
#   7. WAL archive-push / archive-get rates;
#   8. phase weeks (not in the default list): four weeks of daily backups with
#      clustered changes between them, as each tool is run: a full one each Sunday
#      and incrementals, or (adapters) incrementals after the first full one.
#   9. phase seq (not in the default list): full, then incrementals in the same
#      repository after nothing, 3 x 1 % spread, 3 x 0.05 % spread (sparse), and
#      2 x 1 % clustered + 1 % appended; size_mb is the whole repository's size
#      after each step, so the last row is what the sequence costs to keep.
# Output: one TSV row per measurement in WORKDIR/results.tsv and a table of
# medians, with ratios against bb-plain (pg_basebackup, plain format) of the
# same round, on stdout and in WORKDIR/summary.tsv.
#
# Needs only Debian packages: postgresql (with pg_basebackup and pgbench),
# python3, and for the peers any of pgbackrest restic borgbackup barman rsync
# zstd lz4 openssl xxhash.  A tool that is not installed is left out.
# Run it as root (it then uses the unprivileged user --pguser for everything
# that touches PostgreSQL, and can drop the page cache for the cold rounds) or
# as any unprivileged user (no cold rounds then).
#
# Options:
#   --scale N          pgbench scale                          [150]
#   --docs N           rows in table docs (about 1 kB each)   [800000]
#   --runs N           warm rounds                            [3]
#   --cold N           cold rounds of the full backup         [1]
#   --incr-runs N      rounds of each incremental             [3]
#   --restore-runs N   rounds of the full restore             [3]
#   --jobs N           parallelism asked of each tool         [2]
#   --tools LIST       comma list, or "all" / "quick"         [all]
#   --phases LIST      of setup,limits,full,restore,incr,seq,weeks,wal,summary
#                      [all but seq and weeks]
#   --adapter NAME=EXE measure EXE too (may repeat), see "adapters" below
#   --pgbackrest BIN   also measure this other pgbackrest as pgbrN-*
#   --walg BIN         also measure this wal-g as walg-*
#   --lock FILE        lock taken around every timed part     [WORKDIR/bench.lock]
#   --batch SECONDS    keep the lock over several parts up to this long [0]
#   --nice N           scheduling priority of tool and server while timed; a
#                      negative value (root only) shields against other load [0]
#   --port N           port of the cluster; N+1, N+2 are used too  [54870]
#   --pguser USER      unprivileged user when run as root     [postgres]
#   --pgbin DIR        PostgreSQL bin directory               [newest found]
#   --retries N        repeat a run disturbed by other load   [2]
#   --max-wal-segs N   segments used for the WAL rates        [64]
#
# Adapters: an executable called with one phase argument and the environment
# TOOL REPO DEST PGDATA PGHOST PGPORT PGUSER PGDATABASE WORK JOBS:
#   init               make an empty repository in $REPO (not timed)
#   full / incr        back up the running cluster into $REPO (timed)
#   restore            restore the newest backup into the empty dir $DEST (timed)
#   wal-push FILE      archive one WAL segment (used as archive_command too)
#   wal-get NAME FILE  fetch one WAL segment (used as restore_command)
#   startmode          print "recovery" (recovery.signal + restore_command are
#                      added before start) or "plain" (start the directory as is)
#   wal-push-loop / wal-get-loop   optional: push/get all segments listed in the
#                      file $SEGLIST from/to $WALDIR (default: one call each)
# Exit status 64 means "this phase is not supported".
set -u -o pipefail

die() { echo "peer_bench: $*" >&2; exit 1; }
[ $# -ge 1 ] || { sed -n '2,70p' "$0" | sed 's/^# \{0,1\}//'; exit 2; }

# ---------------------------------------------------------------- tool adapters
# Called as: peer_bench.sh --tool NAME PHASE [args], as the unprivileged user.
tool_main() {
  TOOL=$1; local phase=$2; shift 2
  export LC_ALL=C
  case "$TOOL" in
    cp-floor)            t_cp "$phase" "$@" ;;
    bb-plain)            t_bb "$phase" plain ;;
    bb-tar)              t_bb "$phase" tar none ;;
    bb-tar-zstd1-server) t_bb "$phase" tar server-zstd:level=1 ;;
    bb-tar-zstd1x2-server) t_bb "$phase" tar server-zstd:level=1,workers=2 ;;
    bb-tar-zstd1-client) t_bb "$phase" tar client-zstd:level=1 ;;
    bb-tar-lz4-server)   t_bb "$phase" tar server-lz4 ;;
    bb-tar-gz-client)    t_bb "$phase" tar client-gzip ;;
    pgbr-*)              PGBR=${PGBR_BIN:-pgbackrest}; t_pgbr "$phase" "${TOOL#pgbr-}" "$@" ;;
    pgbrN-*)             PGBR=$PGBR2_BIN; t_pgbr "$phase" "${TOOL#pgbrN-}" "$@" ;;
    walg-*)              t_walg "$phase" "${TOOL#walg-}" "$@" ;;
    barman-rsync)        t_barman "$phase" "$@" ;;
    restic-pgdata)       t_restic "$phase" auto ;;
    restic-pgdata-nocomp) t_restic "$phase" off ;;
    borg-*)              t_borg "$phase" "${TOOL#borg-}" ;;
    dump-gz)             t_dump "$phase" 6 ;;
    dump-z0)             t_dump "$phase" 0 ;;
    dump-fc-restic)      t_dumprestic "$phase" ;;
    wal-cp)              t_walcp "$phase" "$@" ;;
    *) exit 64 ;;
  esac
}

loop_push() { local s; while read -r s; do "$@" "$WALDIR/$s" || return 1; mv "$WALDIR/archive_status/$s.ready" "$WALDIR/archive_status/$s.done"; done <"$SEGLIST"; }
loop_get()  { local s; while read -r s; do "$@" "$s" "$WALDIR/RECOVERYXLOG" || return 1; done <"$SEGLIST"; }

t_cp() {   # not a backup: what copying the files and syncing them costs
  case $1 in
    init) mkdir -p "$REPO" ;;
    full) cp -a "$PGDATA" "$REPO/data" && sync -f "$REPO" ;;
    restore) cp -a "$REPO/data/." "$DEST" && rm -f "$DEST/postmaster.pid" && sync -f "$DEST" ;;
    startmode) echo plain ;;
    *) exit 64 ;;
  esac
}

t_bb() {
  local phase=$1 fmt=$2 comp=${3:-none}
  case $phase in
    init) mkdir -p "$REPO" ;;
    full)
      if [ "$fmt" = plain ]; then pg_basebackup -D "$REPO/b" -Fp -c fast -X stream --no-password
      else pg_basebackup -D "$REPO/b" -Ft -c fast -X fetch --compress="$comp" --no-password; fi && sync -f "$REPO" ;;
    restore)
      if [ "$fmt" = plain ]; then cp -a "$REPO/b/." "$DEST"
      else
        local f; f=$(ls "$REPO"/b/base.tar*)
        case $f in
          *.zst) zstd -dcq "$f" | tar -xf - -C "$DEST" ;;
          *.lz4) lz4 -dcq "$f" | tar -xf - -C "$DEST" ;;
          *.gz)  gzip -dc "$f" | tar -xf - -C "$DEST" ;;
          *)     tar -xf "$f" -C "$DEST" ;;
        esac
      fi && sync -f "$DEST" ;;
    startmode) echo plain ;;
    *) exit 64 ;;
  esac
}

t_pgbr() {  # variant: <comp>[-aes][-block][-async][-delta]
  local phase=$1 v=$2; shift 2
  export PGBACKREST_STANZA=b PGBACKREST_PG1_PATH=$PGDATA PGBACKREST_PG1_PORT=$PGPORT \
    PGBACKREST_PG1_SOCKET_PATH=$PGHOST PGBACKREST_REPO1_PATH=$REPO PGBACKREST_PROCESS_MAX=$JOBS \
    PGBACKREST_REPO1_BUNDLE=y PGBACKREST_REPO1_RETENTION_FULL=9 PGBACKREST_START_FAST=y \
    PGBACKREST_LOG_LEVEL_FILE=off PGBACKREST_LOG_LEVEL_CONSOLE=warn \
    PGBACKREST_LOCK_PATH=$WORK/pgbr-lock PGBACKREST_SPOOL_PATH=$WORK/pgbr-spool \
    PGBACKREST_CONFIG=/dev/null
  mkdir -p "$WORK/pgbr-lock" "$WORK/pgbr-spool"
  local beta=""
  case $v in
    none*) export PGBACKREST_COMPRESS_TYPE=none ;;
    lz4*)  export PGBACKREST_COMPRESS_TYPE=lz4 ;;
    zst1*) export PGBACKREST_COMPRESS_TYPE=zst PGBACKREST_COMPRESS_LEVEL=1 ;;
    zst3*) export PGBACKREST_COMPRESS_TYPE=zst PGBACKREST_COMPRESS_LEVEL=3 ;;
    gz*)   export PGBACKREST_COMPRESS_TYPE=gz ;;
    *) exit 64 ;;
  esac
  case $v in *-aes*) export PGBACKREST_REPO1_CIPHER_TYPE=aes-256-cbc PGBACKREST_REPO1_CIPHER_PASS=bench-only-0123456789abcdef ;; esac
  case $v in *-block*) export PGBACKREST_REPO1_BLOCK=y
    case $("$PGBR" version) in *' 2.45'*) beta=--beta ;; esac ;; esac
  case $v in *-async*) export PGBACKREST_ARCHIVE_ASYNC=y ;; esac
  case $v in *-delta*) [ "$phase" = incr ] && export PGBACKREST_DELTA=y ;; esac  # compares by checksum, not by time and size
  case $phase in
    init) rm -rf "$WORK/pgbr-spool/archive"; mkdir -p "$REPO"; env -u PGBACKREST_REPO1_BUNDLE -u PGBACKREST_REPO1_BLOCK "$PGBR" stanza-create --no-online ;;
    full) "$PGBR" backup --type=full $beta && sync -f "$REPO" ;;
    incr) "$PGBR" backup --type=incr $beta && sync -f "$REPO" ;;
    restore) PGBACKREST_PG1_PATH=$DEST "$PGBR" restore && sync -f "$DEST" ;;
    startmode) echo recovery ;;
    wal-push) env -u PGBACKREST_ARCHIVE_ASYNC "$PGBR" archive-push "$1" ;;
    wal-get) local d=$2; case $d in /*) ;; *) d=$PWD/$d; export PGBACKREST_PG1_PATH=$PWD ;; esac
      env -u PGBACKREST_ARCHIVE_ASYNC "$PGBR" archive-get "$1" "$d" ;;
    wal-push-loop) loop_push "$PGBR" archive-push --pg1-path="$(dirname "$WALDIR")" ;;
    wal-get-loop)  loop_get  "$PGBR" archive-get  --pg1-path="$(dirname "$WALDIR")" ;;
    *) exit 64 ;;
  esac
}

t_walg() {  # variant: <method>[-x2]
  local phase=$1 v=$2; shift 2
  export WALG_FILE_PREFIX=$REPO WALG_COMPRESSION_METHOD=${v%%-*} WALG_VERIFY_PAGE_CHECKSUMS=true \
    WALG_LOG_LEVEL=ERROR WALG_DELTA_ORIGIN=LATEST_FULL
  case $v in *-x2) export WALG_UPLOAD_DISK_CONCURRENCY=$JOBS WALG_UPLOAD_CONCURRENCY=$JOBS ;; esac
  case $phase in
    init) mkdir -p "$REPO" ;;
    full) "$WALG_BIN" backup-push --full "$PGDATA" >/dev/null && sync -f "$REPO" ;;
    incr) WALG_DELTA_MAX_STEPS=9 "$WALG_BIN" backup-push "$PGDATA" >/dev/null && sync -f "$REPO" ;;
    restore) "$WALG_BIN" backup-fetch "$DEST" LATEST >/dev/null && sync -f "$DEST" ;;
    startmode) echo recovery ;;
    wal-push) "$WALG_BIN" wal-push "$1" ;;
    wal-get) PGDATA=$DEST "$WALG_BIN" wal-fetch "$1" "$2" ;;
    wal-push-loop) PGDATA=$(dirname "$WALDIR"); export PGDATA; loop_push "$WALG_BIN" wal-push ;;
    wal-get-loop)  PGDATA=$(dirname "$WALDIR"); export PGDATA; loop_get "$WALG_BIN" wal-fetch ;;
    *) exit 64 ;;
  esac
}

t_barman() {
  local phase=$1; shift
  local conf=$REPO.conf
  case $phase in
    init)
      mkdir -p "$REPO/b/incoming"
      cat >"$conf" <<EOC
[barman]
barman_user = $(id -un)
barman_home = $REPO
barman_lock_directory = $REPO
log_file = $REPO/barman.log
log_level = WARNING
[b]
description = bench
conninfo = host=$PGHOST port=$PGPORT user=$PGUSER dbname=postgres
backup_method = local-rsync
reuse_backup = link
archiver = on
immediate_checkpoint = true
backup_options = concurrent_backup
parallel_jobs = $JOBS
minimum_redundancy = 0
EOC
      psql -qAtX -d postgres -c 'checkpoint' -c 'select pg_switch_wal()' >/dev/null
      barman -q -c "$conf" switch-wal --force --archive b >/dev/null 2>&1 || true ;;
    full) barman -q -c "$conf" backup --reuse-backup=off b && sync -f "$REPO" ;;
    incr) barman -q -c "$conf" backup b && sync -f "$REPO" ;;
    restore) barman -q -c "$conf" recover b latest "$DEST" && sync -f "$DEST" ;;
    startmode) echo plain ;;
    wal-push) cp "$1" "$REPO/b/incoming/.tmp" && mv "$REPO/b/incoming/.tmp" "$REPO/b/incoming/$(basename "$1")" ;;
    *) exit 64 ;;
  esac
}

t_restic() {  # file copy of an idle cluster; a live one needs backup mode around it
  local phase=$1; export RESTIC_COMPRESSION=$2
  export RESTIC_REPOSITORY=$REPO RESTIC_PASSWORD=bench RESTIC_CACHE_DIR=$REPO.cache
  case $phase in
    init) rm -rf "$REPO.cache"; restic -q init --repository-version 2 ;;
    full|incr) psql -qAtX -d postgres -c checkpoint && cd "$PGDATA" && restic -q backup --compression "$2" --host bench --exclude postmaster.pid . && sync -f "$REPO" ;;
    restore) restic -q restore latest --target "$DEST" && sync -f "$DEST" ;;
    startmode) echo plain ;;
    *) exit 64 ;;
  esac
}

t_borg() {
  local phase=$1 comp=${2/-/,}
  export BORG_REPO=$REPO BORG_PASSPHRASE=bench BORG_BASE_DIR=$REPO.cache BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes BORG_RELOCATED_REPO_ACCESS_IS_OK=yes
  case $phase in
    init) rm -rf "$REPO.cache"; mkdir -p "$REPO.cache"; borg init -e repokey-blake2 2>/dev/null ;;
    full|incr) psql -qAtX -d postgres -c checkpoint && cd "$PGDATA" && borg create -C "$comp" --exclude postmaster.pid "::$phase-$(date +%s%N)" . && sync -f "$REPO" ;;
    restore) local a; a=$(borg list --last 1 --short); cd "$DEST" && borg extract "::$a" && sync -f "$DEST" ;;
    startmode) echo plain ;;
    *) exit 64 ;;
  esac
}

t_dump() {
  case $1 in
    init) mkdir -p "$REPO" ;;
    full) pg_dump -Fd -j "$JOBS" -Z "$2" -f "$REPO/dump" "$PGDATABASE" && sync -f "$REPO" ;;
    restore) pg_restore -p "$PGPORT2" -j "$JOBS" -d "$PGDATABASE" "$REPO/dump" && psql -qX -p "$PGPORT2" -d postgres -c checkpoint && sync -f "$WORK" ;;
    startmode) echo logical ;;
    *) exit 64 ;;
  esac
}

t_dumprestic() {
  export RESTIC_REPOSITORY=$REPO RESTIC_PASSWORD=bench RESTIC_CACHE_DIR=$REPO.cache
  case $1 in
    init) rm -rf "$REPO.cache"; restic -q init --repository-version 2 ;;
    full|incr) pg_dump -Fc -Z 0 "$PGDATABASE" | restic -q backup --host bench --stdin --stdin-filename bench.dump && sync -f "$REPO" ;;
    restore) restic -q dump latest bench.dump | pg_restore -p "$PGPORT2" -d "$PGDATABASE" && psql -qX -p "$PGPORT2" -d postgres -c checkpoint && sync -f "$WORK" ;;
    startmode) echo logical ;;
    *) exit 64 ;;
  esac
}

t_walcp() {  # floor of a safe archive_command: copy + fsync + rename
  local phase=$1; shift
  one_push() { cp "$1" "$REPO/.t" && sync "$REPO/.t" && mv "$REPO/.t" "$REPO/${1##*/}"; }
  one_get() { cp "$REPO/$1" "$2"; }
  case $phase in
    init) mkdir -p "$REPO" ;;
    wal-push) one_push "$@" ;;
    wal-get) one_get "$@" ;;
    wal-push-loop) loop_push one_push ;;
    wal-get-loop) loop_get one_get ;;
    *) exit 64 ;;
  esac
}

# generic loops for --adapter executables that have none of their own
ext_main() {
  local exe=$1 phase=$2; shift 2
  case $phase in
    wal-push-loop) "$exe" wal-push-loop; local r=$?; [ $r = 64 ] || exit $r; one() { "$exe" wal-push "$1"; }; loop_push one ;;
    wal-get-loop)  "$exe" wal-get-loop;  local r=$?; [ $r = 64 ] || exit $r; one() { "$exe" wal-get "$1" "$2"; }; loop_get one ;;
    *) exec "$exe" "$phase" "$@" ;;
  esac
}

case $1 in
  --tool) shift; tool_main "$@"; exit $? ;;
  --ext)  shift; ext_main "$@"; exit $? ;;
esac

# ------------------------------------------------------------------- the driver
WORK=$1; shift
SCALE=150 DOCS=800000 RUNS=3 COLD=1 IRUNS=3 RRUNS=3 JOBS=2 TOOLS=all PHASES=setup,limits,full,restore,incr,wal,summary
LOCK="" PORT=54870 PGU=postgres PGBIN="" RETRIES=2 MAXSEG=64 BATCH=0 MNICE=0 PGBR2_BIN="" WALG_BIN="" ADAPTERS=()
while [ $# -gt 0 ]; do
  case $1 in
    --scale) SCALE=$2 ;; --docs) DOCS=$2 ;; --runs) RUNS=$2 ;; --cold) COLD=$2 ;; --incr-runs) IRUNS=$2 ;;
    --restore-runs) RRUNS=$2 ;; --jobs) JOBS=$2 ;; --tools) TOOLS=$2 ;; --phases) PHASES=$2 ;;
    --adapter) ADAPTERS+=("$2") ;; --pgbackrest) PGBR2_BIN=$2 ;; --walg) WALG_BIN=$2 ;; --lock) LOCK=$2 ;;
    --port) PORT=$2 ;; --pguser) PGU=$2 ;; --pgbin) PGBIN=$2 ;; --retries) RETRIES=$2 ;; --batch) BATCH=$2 ;; --nice) MNICE=$2 ;; --max-wal-segs) MAXSEG=$2 ;;
    *) die "unknown option $1" ;;
  esac; shift 2
done
mkdir -p "$WORK" && WORK=$(cd "$WORK" && pwd) || die "no work dir"
[ -n "$LOCK" ] || LOCK=$WORK/bench.lock
if [ -z "$PGBIN" ]; then
  PGBIN=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  [ -n "$PGBIN" ] || PGBIN=$(dirname "$(command -v initdb || die 'no PostgreSQL server binaries')")
fi
export PATH=$PGBIN:$PATH
ROOT=0; [ "$(id -u)" = 0 ] && ROOT=1
[ $ROOT = 1 ] || { PGU=$(id -un); COLD=0; }
mkdir -p "$WORK/bin" "$WORK/sock" "$WORK/repo"; cp "$0" "$WORK/bin/peer_bench.sh" 2>/dev/null || true
SELF=$WORK/bin/peer_bench.sh; chmod 755 "$SELF"
export WORK JOBS PGBR2_BIN WALG_BIN MNICE
export PGDATA=$WORK/pg/data PGHOST=$WORK/sock PGPORT=$PORT PGPORT2=$((PORT+1)) PGUSER=$PGU PGDATABASE=bench
PORT3=$((PORT+2))
RES=$WORK/results.tsv
HEADER=$'tool\tphase\tcache\trun\twall_s\ttool_cpu_s\tserver_cpu_s\tother_cpu_s\tsteal_s\tmax_rss_mb\tpeak_pss_mb\tsize_mb\tnote'
[ -s "$RES" ] || echo "$HEADER" >"$RES"
[ $ROOT = 1 ] && chown "$PGU" "$WORK" "$WORK/bin" "$WORK/sock" "$WORK/repo"

as() { if [ $ROOT = 1 ]; then setpriv --reuid "$PGU" --regid "$(id -g "$PGU")" --init-groups env HOME="$WORK" "$@"; else "$@"; fi; }
q()  { as psql -qAtX -v ON_ERROR_STOP=1 "$@"; }
has_phase() { case ",$PHASES," in *",$1,"*) return 0 ;; esac; return 1; }
log() { echo "[$(date +%H:%M:%S)] $*" >&2; }

# The lock is held by a helper process (never by an inherited descriptor, which
# a started server would keep open), so that it can span several timed parts.
LOCK_T0="" LOCK_PID=""
lock_begin() {
  [ -n "$LOCK_PID" ] && return
  rm -f "$WORK/lock.have"; touch "$WORK/lock.want"
  flock "$LOCK" bash -c 'touch "$0/lock.have"; while [ -e "$0/lock.want" ] && kill -0 "$1" 2>/dev/null; do sleep 0.1; done; rm -f "$0/lock.have"' "$WORK" $$ & LOCK_PID=$!
  while [ ! -e "$WORK/lock.have" ]; do sleep 0.05; done; LOCK_T0=$SECONDS
}
lock_end() { [ -n "$LOCK_PID" ] || return 0; rm -f "$WORK/lock.want"; wait "$LOCK_PID" 2>/dev/null; LOCK_PID=""; sleep 0.3; }
lock_maybe_end() { [ -n "$LOCK_PID" ] && [ $((SECONDS-LOCK_T0)) -ge "$BATCH" ] && lock_end; true; }
trap lock_end EXIT

cat >"$WORK/bin/measure.py" <<'EOP'
import sys, os, time, subprocess, threading, resource, pwd
# measure.py user drop postmaster_pidfile prewarm_dirs -- cmd...
user, drop, pidf, prewarm = sys.argv[1:5]; cmd = sys.argv[6:]
HZ = os.sysconf('SC_CLK_TCK')
def stat():
    f = open('/proc/stat').readline().split()[1:]
    v = [int(x) / HZ for x in f]
    return v[0] + v[1] + v[2] + v[5] + v[6], v[7]
def pstat(pid):
    try: s = open('/proc/%d/stat' % pid).read()
    except OSError: return None
    r = s.rindex(')'); f = s[r + 2:].split()
    return int(f[1]), int(f[3]), int(f[11]) + int(f[12]), int(f[13]) + int(f[14])
def server_cpu():
    try: pm = int(open(pidf).readline())
    except Exception: return 0.0
    t = 0
    for p in os.listdir('/proc'):
        if p.isdigit():
            x = pstat(int(p))
            if x and (int(p) == pm or x[0] == pm):
                t += x[2] + (x[3] if int(p) == pm else 0)
    return t / HZ
os.sync()
if drop == '1': open('/proc/sys/vm/drop_caches', 'w').write('3\n')
elif prewarm:
    for d in prewarm.split(':'):
        for b, _, fs in os.walk(d):
            for f in fs:
                try:
                    with open(os.path.join(b, f), 'rb', buffering=0) as h:
                        while h.read(1 << 20): pass
                except OSError: pass
peak = [0]; done = threading.Event(); sid = [0]
def sample():
    while not done.is_set():
        t = 0
        for p in os.listdir('/proc'):
            if not p.isdigit(): continue
            x = pstat(int(p))
            if not x or x[1] != sid[0]: continue
            try:
                for l in open('/proc/%s/smaps_rollup' % p):
                    if l.startswith('Pss:'): t += int(l.split()[1]); break
            except OSError: pass
        peak[0] = max(peak[0], t); done.wait(0.1)
env = dict(os.environ)
kw = {}
if os.getuid() == 0:
    u = pwd.getpwnam(user); kw = dict(user=user, group=u.pw_gid, extra_groups=[]); env['HOME'] = env['WORK']
nice = int(env.get('MNICE', '0'))
def server_pids():
    try: pm = int(open(pidf).readline())
    except Exception: return []
    return [pm] + [int(p) for p in os.listdir('/proc') if p.isdigit() and (pstat(int(p)) or (0,))[0] == pm]
def renice(pids, n):
    for p in pids:
        try: os.setpriority(os.PRIO_PROCESS, p, n)
        except OSError: pass
def autogroup(pid, n):  # where autogroups are on, nice only counts inside a session
    try: open('/proc/%d/autogroup' % pid, 'w').write(str(n))
    except OSError: pass
if nice:
    renice(server_pids() + [0], nice)
    for q in server_pids()[:1]: autogroup(q, nice)
s0 = server_cpu(); a0, st0 = stat(); t0 = time.monotonic()
p = subprocess.Popen(cmd, env=env, start_new_session=True, stdin=subprocess.DEVNULL, stdout=sys.stderr, cwd='/', **kw)
if nice: autogroup(p.pid, nice)
sid[0] = p.pid; th = threading.Thread(target=sample); th.start()
_, rc, ru = os.wait4(p.pid, 0)
t1 = time.monotonic(); a1, st1 = stat(); s1 = server_cpu(); done.set(); th.join()
rc = os.waitstatus_to_exitcode(rc)
if nice:
    renice(server_pids(), 0)
    for q in server_pids()[:1]: autogroup(q, 0)
cpu = ru.ru_utime + ru.ru_stime; me = resource.getrusage(resource.RUSAGE_SELF); own = me.ru_utime + me.ru_stime
other = max(0.0, a1 - a0 - cpu - max(0, s1 - s0))
print('%d\t%.3f\t%.2f\t%.2f\t%.2f\t%.2f\t%.0f\t%.0f' % (rc, t1 - t0, cpu, max(0, s1 - s0), other, st1 - st0, ru.ru_maxrss / 1024, peak[0] / 1024))
EOP

cat >"$WORK/bin/archive.sh" <<'EOA'
#!/bin/bash
# archive_command: dispatches to the tool named in archive.cur
W=$(dirname "$(dirname "$0")")
[ -s "$W/archive.cur" ] || exit 0
. "$W/archive.cur"
[ "$KIND" = none ] && exit 0
[ "$KIND" = keep ] && { cp "$1" "$W/wal_saved/$2.t" && mv "$W/wal_saved/$2.t" "$W/wal_saved/$2"; exit $?; }
export REPO TOOL WORK JOBS PGDATA PGHOST PGPORT PGUSER PGDATABASE PATH PGBR2_BIN WALG_BIN
"${CALL[@]}" wal-push "$PGDATA/$1"; r=$?; [ $r = 64 ] && r=0; exit $r
EOA
chmod 755 "$WORK/bin/archive.sh"

call_of() {  # sets CALL for tool $1
  local a; CALL=("$SELF" --tool "$1")
  for a in "${ADAPTERS[@]:-}"; do [ "${a%%=*}" = "$1" ] && CALL=("$SELF" --ext "${a#*=}"); done
}
set_archive() {  # none | keep | tool NAME
  { if [ "$1" = tool ]; then echo "KIND=tool"; else echo "KIND=$1"; fi
    if [ "$1" = tool ]; then
      call_of "$2"
      printf 'TOOL=%q REPO=%q WORK=%q JOBS=%q PGDATA=%q PGHOST=%q PGPORT=%q PGUSER=%q PGDATABASE=%q PATH=%q PGBR2_BIN=%q WALG_BIN=%q\n' \
        "$2" "$WORK/repo/$2" "$WORK" "$JOBS" "$PGDATA" "$PGHOST" "$PGPORT" "$PGUSER" "$PGDATABASE" "$PATH" "$PGBR2_BIN" "$WALG_BIN"
      declare -p CALL | sed 's/^declare -a //'
    fi; } >"$WORK/archive.cur.t"; chmod 644 "$WORK/archive.cur.t"; mv "$WORK/archive.cur.t" "$WORK/archive.cur"
}
drain_archive() {  # wait until nothing is left to archive under the present setting
  local i; for i in $(seq 600); do ls "$PGDATA/pg_wal/archive_status/" 2>/dev/null | grep -q '\.ready$' || return 0; sleep 0.2; done; return 1
}
# run_timed TOOL PHASE CACHE RUN SIZE_DIR cmd... ; appends a row; retries when disturbed
run_timed() {
  local tool=$1 phase=$2 cache=$3 run=$4 sized=$5 prep=$6; shift 6
  local pidf=$PGDATA/postmaster.pid
  case $phase in restore*) [ "$(as "${CALL[@]}" startmode)" = logical ] && pidf=$WORK/pg2/postmaster.pid ;; esac
  local try=0 line rc wall cpu scpu other steal rss pss note size before drop=0 pre=""
  [ "$cache" = cold ] && drop=1
  while :; do
    lock_begin
    $prep || { log "prep failed: $tool $phase"; printf '%s\t%s\t%s\t%s\t\t\t\t\t\t\t\t\tPREP-FAILED\n' "$tool" "$phase" "$cache" "$run" >>"$RES"; lock_maybe_end; return 1; }
    before=0; [ "$phase" != "${phase#incr}" ] && before=$(du -sm --apparent-size "$sized" 2>/dev/null | cut -f1)
    pre=""; [ $drop = 0 ] && { pre=$PGDATA; [ "$phase" != "${phase#restore}" ] && pre=$REPO; [ "$phase" = start ] && pre=$DEST; case $phase in wal-*) pre=$WORK/walbench:$REPO ;; esac; }
    line=$(python3 "$WORK/bin/measure.py" "$PGU" $drop "$pidf" "$pre" -- "$@" 2>>"$WORK/tool.log")
    IFS=$'\t' read -r rc wall cpu scpu other steal rss pss <<<"$line"
    lock_maybe_end
    [ "${rc:-1}" = 64 ] && return 64
    note=ok; [ "${rc:-1}" = 0 ] || note="FAILED($rc)"
    size=""; [ -n "$sized" ] && { size=$(du -sm --apparent-size "$sized" 2>/dev/null | cut -f1); [ "$phase" != "${phase#incr}" ] && size=$((size-before)); }
    if [ "$note" = ok ] && [ $try -lt "$RETRIES" ] && python3 -c "import sys; sys.exit(0 if $other+$steal > 0.3*$wall+0.3 else 1)"; then
      try=$((try+1)); log "disturbed (other cpu ${other}s of ${wall}s): $tool $phase, again"; sleep $((try*5)); continue
    fi
    python3 -c "import sys; sys.exit(0 if $other+$steal > 0.3*$wall+0.3 else 1)" && [ "$note" = ok ] && note=noisy
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$tool" "$phase" "$cache" "$run" "$wall" "$cpu" "$scpu" "$other" "$steal" "$rss" "$pss" "$size" "$note" >>"$RES"
    log "$tool $phase $cache #$run wall=${wall}s cpu=${cpu}+${scpu}s other=${other} rss=${rss}/${pss}MB size=${size}MB $note"
    [ "$note" = ok ] || [ "$note" = noisy ]; return
  done
}

# ------------------------------------------------------------------------ setup
pg_conf() { cat <<EOC
listen_addresses = ''
unix_socket_directories = '$WORK/sock'
shared_buffers = 256MB
max_wal_size = 4GB
checkpoint_timeout = 1h
autovacuum = off
wal_level = replica
max_wal_senders = 10
archive_timeout = 0
maintenance_work_mem = 256MB
logging_collector = off
EOC
}
setup() {
  if [ ! -f "$PGDATA/PG_VERSION" ]; then
    log "initdb"
    as mkdir -p "$WORK/pg"; as initdb -k -A trust -E UTF8 --locale=C -U "$PGUSER" -D "$PGDATA" >/dev/null || die initdb
    { pg_conf; echo "port = $PGPORT"; echo "archive_mode = on"; echo "archive_command = '$WORK/bin/archive.sh %p %f # pgbackrest checks that its name is here'"; } >>"$PGDATA/postgresql.conf"
    set_archive none
    as pg_ctl -s -w -D "$PGDATA" -l "$WORK/pg.log" start || die "start"
    q -d postgres -c 'create database bench'
    log "pgbench -i -s $SCALE"
    as pgbench -q -i -I dtGvp -s "$SCALE" bench 2>/dev/null || die pgbench
    log "docs: $DOCS rows"
    q -c "create table docs(id bigint primary key, tenant int not null, created_at timestamptz not null, title text not null, body text not null, attrs jsonb not null)"
    python3 - "$DOCS" <<'EOG' | q -c "copy docs from stdin" || die docs
import random, sys, json, itertools
n = int(sys.argv[1]); R = random.Random(20240601)
cons, vow = 'bcdfghjklmnprstvwz', 'aeiou'
words = []
seen = set()
while len(words) < 6000:
    w = ''.join(R.choice(cons) + R.choice(vow) + (R.choice(cons) if R.random() < .3 else '') for _ in range(R.choice((1, 2, 2, 3, 3, 4))))
    if w not in seen: seen.add(w); words.append(w)
cum = list(itertools.accumulate(1.0 / (i + 3) for i in range(len(words))))
status = ['new', 'open', 'pending', 'closed', 'archived']; cc = ['DE', 'US', 'FR', 'BR', 'IN', 'JP']
out = sys.stdout
for i in range(1, n + 1):
    k = R.randint(70, 130); ws = R.choices(words, cum_weights=cum, k=k)
    body = ' '.join(ws); title = ' '.join(ws[:5]).title()
    a = {'uuid': '%032x' % R.getrandbits(128), 'email': '%s.%s@%s.example' % (ws[0], ws[1], ws[2]), 'ip': '10.%d.%d.%d' % (R.randrange(256), R.randrange(256), R.randrange(256)),
         'amount': round(R.lognormvariate(4, 1), 2), 'status': R.choice(status), 'country': R.choice(cc), 'tags': ws[5:5 + R.randrange(5)],
         'score': R.random(), 'items': [{'sku': 'SKU-%06d' % R.randrange(200000), 'qty': R.randrange(1, 9), 'price': R.randrange(100, 99999) / 100} for _ in range(R.randrange(1, 4))]}
    out.write('%d\t%d\t2024-%02d-%02d %02d:%02d:%02d+00\t%s\t%s\t%s\n' % (i, R.randrange(500), R.randrange(1, 13), R.randrange(1, 29), R.randrange(24), R.randrange(60), R.randrange(60), title, body, json.dumps(a)))
EOG
    q -c 'vacuum (freeze, analyze)' -c checkpoint
    as pg_ctl -s -w -m fast -D "$PGDATA" stop
    # keep pg_wal small from here on, so that tools which copy it are not charged for recycled segments
    trim_wal
    printf 'max_wal_size = 256MB\nmin_wal_size = 32MB\n' >>"$PGDATA/postgresql.conf"
  fi
  server_up
  local i; for i in 1 2 3; do q -d postgres -c 'select txid_current()' -c 'select pg_switch_wal()' -c checkpoint >/dev/null; done; drain_archive; q -d postgres -c checkpoint
  log "cluster: $(du -sm "$PGDATA" | cut -f1) MB; $(q -c "select 'accounts '||pg_size_pretty(pg_total_relation_size('pgbench_accounts'))||', docs '||pg_size_pretty(pg_total_relation_size('docs'))")"
}
trim_wal() {  # after a clean shutdown: drop the segments recycled for the future
  local redo f; redo=$(pg_controldata "$PGDATA" | awk '/REDO WAL file/{print $NF}'); [ ${#redo} = 24 ] || return 0
  for f in "$PGDATA"/pg_wal/????????????????????????; do [[ ${f##*/} > $redo ]] && rm -f "$f"; done
}
server_up() { as pg_ctl -s -D "$PGDATA" status >/dev/null 2>&1 || as pg_ctl -s -w -D "$PGDATA" -l "$WORK/pg.log" start || die "cannot start cluster"; }
pg2_up() {   # target cluster of logical restores
  if [ ! -f "$WORK/pg2/PG_VERSION" ]; then
    as initdb -k -A trust -E UTF8 --locale=C -U "$PGUSER" -D "$WORK/pg2" >/dev/null || die initdb2
    { pg_conf; echo "port = $PGPORT2"; } >>"$WORK/pg2/postgresql.conf"
  fi
  as pg_ctl -s -D "$WORK/pg2" status >/dev/null 2>&1 || as pg_ctl -s -w -D "$WORK/pg2" -l "$WORK/pg2.log" start || die pg2
}
CHECKSQL="select (select count(*)||'/'||sum(abalance)||'/'||sum(aid) from pgbench_accounts)||' '||(select count(*)||'/'||sum(length(body))||'/'||sum(tenant) from docs)"

# ----------------------------------------------------------------------- limits
limits() {
  local f=$WORK/limit.bin s=$WORK/sample.bin
  log "limits"
  lim() { local name=$1; shift; local v; lock_begin; v=$(bash -c "$*" 2>/dev/null); lock_maybe_end; printf 'limit\t%s\t\t\t%s\n' "$name" "$v" | tee -a "$WORK/limits.tsv" >&2; }
  : >"$WORK/limits.tsv"
  lim cores "nproc"
  local r
  for r in 1 2 3; do
    lim "disk write 2 GiB fdatasync MB/s" "sync; dd if=/dev/zero of=$f bs=1M count=2048 conv=fdatasync 2>&1 | awk 'END{print \$(NF-1)}'"
    [ $ROOT = 1 ] && lim "disk read cold MB/s" "sync; echo 3 >/proc/sys/vm/drop_caches; dd if=$f of=/dev/null bs=1M 2>&1 | awk 'END{print \$(NF-1),\$NF}'"
    lim "disk read warm (page cache) MB/s" "cat $f >/dev/null; dd if=$f of=/dev/null bs=1M 2>&1 | awk 'END{print \$(NF-1),\$NF}'"
    lim "disk write 2x1 GiB parallel fdatasync s" "sync; t=\$(date +%s%N); (dd if=/dev/zero of=$f.a bs=1M count=1024 conv=fdatasync & dd if=/dev/zero of=$f.b bs=1M count=1024 conv=fdatasync & wait) 2>/dev/null; echo \$(( (\$(date +%s%N)-t)/1000000 )) | awk '{print \$1/1000}'; rm -f $f.a $f.b"
  done
  lim "4 KiB write+fsync /s" "python3 -c \"
import os,time
f=os.open('$f',os.O_WRONLY);n=0;t=time.time()
while time.time()-t<3: os.pwrite(f,b'x'*4096,0);os.fdatasync(f);n+=1
print(round(n/(time.time()-t)))\""
  rm -f "$f"
  lim "memcpy GB/s (1 core)" "python3 -c \"
import ctypes,time
n=1<<28;a=ctypes.create_string_buffer(n);b=ctypes.create_string_buffer(n);ctypes.memset(a,1,n);ctypes.memmove(b,a,n)
t=time.time();[ctypes.memmove(b,a,n) for _ in range(10)];print(round(10*n/(time.time()-t)/1e9,2))\""
  # a sample of the real data: heap pages of both tables
  local h; : >"$s"
  for h in pgbench_accounts docs; do
    dd if="$PGDATA/$(q -c "select pg_relation_filepath('$h')")" bs=1M count=96 skip=64 2>/dev/null >>"$s"
  done
  dd if="$PGDATA/$(q -c "select pg_relation_filepath('docs')")" bs=1M count=96 skip=64 of="$s.docs" 2>/dev/null
  local a
  for a in md5 sha1 sha256 sha512 blake2b512; do
    command -v openssl >/dev/null && lim "openssl $a MB/s (1 core)" "openssl speed -seconds 2 -bytes 65536 -evp $a 2>/dev/null | awk 'END{sub(/k\$/,\"\",\$NF); print int(\$NF/1000)}'"
  done
  for a in aes-256-cbc aes-256-ctr aes-256-gcm chacha20-poly1305; do
    command -v openssl >/dev/null && lim "openssl $a MB/s (1 core)" "openssl speed -seconds 2 -bytes 65536 -evp $a 2>/dev/null | awk 'END{sub(/k\$/,\"\",\$NF); print int(\$NF/1000)}'"
  done
  command -v xxhsum >/dev/null && for a in 1:XXH32 3:XXH64 5:XXH3_64b 11:XXH128; do
    lim "xxhsum ${a#*:} MB/s (1 core)" "xxhsum -b${a%%:*} -i1 $s 2>&1 | tr '\r' '\n' | grep -oE '[0-9.]+ MB/s' | tail -1"; done
  lim "crc32 zlib MB/s (1 core)" "python3 -c \"
import zlib,time;d=open('$s','rb').read();t=time.time();zlib.crc32(d);print(round(len(d)/(time.time()-t)/1e6))\""
  local z x
  for x in "$s" "$s.docs"; do
    command -v lz4 >/dev/null && for z in 1; do lim "lz4 -b$z $( [ "$x" = "$s" ] && echo mixed || echo docs ) ratio, comp, decomp" "lz4 -b$z -i2 $x 2>&1 | tr '\r' '\n' | grep -E 'MB/s' | tail -1"; done
    command -v zstd >/dev/null && for z in 1 3; do lim "zstd -b$z $( [ "$x" = "$s" ] && echo mixed || echo docs ) ratio, comp, decomp" "zstd -b$z -i2 $x 2>&1 | tr '\r' '\n' | grep -E 'MB/s' | tail -1"; done
    lim "gzip -6 $( [ "$x" = "$s" ] && echo mixed || echo docs ) ratio, comp MB/s, decomp MB/s" "python3 -c \"
import zlib,time;d=open('$x','rb').read();t=time.time();c=zlib.compress(d,6);u=time.time();zlib.decompress(c);v=time.time()
print('x%.2f %d MB/s %d MB/s'%(len(d)/len(c),len(d)/(u-t)/1e6,len(d)/(v-u)/1e6))\""
  done
  rm -f "$s" "$s.docs"
}

# ------------------------------------------------------------------------ tools
tool_list() {
  local t l="bb-plain cp-floor bb-tar bb-tar-lz4-server bb-tar-zstd1-server bb-tar-zstd1x2-server bb-tar-zstd1-client bb-tar-gz-client"
  local v="none lz4 zst1 zst3 gz none-aes lz4-aes zst3-aes lz4-block zst3-block"
  command -v pgbackrest >/dev/null && for t in $v; do l+=" pgbr-$t"; done
  [ -n "$PGBR2_BIN" ] && for t in none lz4 zst1 zst3 gz lz4-aes lz4-block zst3-block lz4-aes-block; do l+=" pgbrN-$t"; done
  [ -n "$WALG_BIN" ] && l+=" walg-lz4 walg-lz4-x2 walg-zstd-x2"
  command -v barman >/dev/null && command -v rsync >/dev/null && l+=" barman-rsync"
  command -v restic >/dev/null && l+=" restic-pgdata restic-pgdata-nocomp"
  command -v borg >/dev/null && l+=" borg-lz4 borg-zstd-1"
  l+=" dump-gz dump-z0"; command -v restic >/dev/null && l+=" dump-fc-restic"
  case $TOOLS in
    all) ;;
    quick) l="bb-plain bb-tar-zstd1-server"; command -v pgbackrest >/dev/null && l+=" pgbr-none pgbr-lz4 pgbr-zst3 pgbr-lz4-aes pgbr-lz4-block"
           command -v restic >/dev/null && l+=" restic-pgdata"; l+=" dump-z0" ;;
    *) l="bb-plain"; for t in ${TOOLS//,/ }; do [ "$t" = bb-plain ] || l+=" $t"; done ;;
  esac
  for t in "${ADAPTERS[@]:-}"; do [ -n "$t" ] && l+=" ${t%%=*}"; done
  echo "$l"
}
use_tool() { export TOOL=$1 REPO=$WORK/repo/$1 DEST=$WORK/dest; call_of "$1"; }
wipe_repo() { rm -rf "$REPO" "$REPO.cache" "$REPO.conf" "$REPO.base" "$REPO.base.cache"; }
prep_full() { wipe_repo; set_archive none; drain_archive; set_archive tool "$TOOL"; as "${CALL[@]}" init >>"$WORK/tool.log" 2>&1; drain_archive; }
snap_repo() { rm -rf "$REPO.base" "$REPO.base.cache"; case $TOOL in borg-*|barman*) as cp -a "$REPO" "$REPO.base" ;; *) as cp -al "$REPO" "$REPO.base" ;; esac; [ -d "$REPO.cache" ] && as cp -a "$REPO.cache" "$REPO.base.cache"; true; }
prep_incr() { rm -rf "$REPO" "$REPO.cache"; case $TOOL in borg-*|barman*) as cp -a "$REPO.base" "$REPO" ;; *) as cp -al "$REPO.base" "$REPO" ;; esac || return 1
  [ -d "$REPO.base.cache" ] && as cp -a "$REPO.base.cache" "$REPO.cache"; set_archive none; drain_archive; set_archive tool "$TOOL"; }
prep_restore() {
  if [ "$(as "${CALL[@]}" startmode)" = logical ]; then
    pg2_up; q -p "$PGPORT2" -d postgres -c "drop database if exists bench" -c "create database bench" -c checkpoint
  else rm -rf "$DEST"; as mkdir -m 700 "$DEST"; fi
}
do_start() {  # start-up check of $DEST
  local mode; mode=$(as "${CALL[@]}" startmode)
  if [ "$mode" = logical ]; then
    [ "$(q -p "$PGPORT2" -d bench -c "$CHECKSQL")" = "$1" ] && echo ok || echo MISMATCH; return
  fi
  as bash -c "
    rm -f '$DEST/postmaster.pid' '$DEST/standby.signal'
    { echo \"port = $PORT3\"; echo \"archive_mode = off\"; echo \"hot_standby = on\"; echo \"recovery_target_timeline = 'current'\"; } >>'$DEST/postgresql.conf'
    sed -i '/^restore_command\|^recovery_target\|^recovery_end/d' '$DEST/postgresql.auto.conf' 2>/dev/null || true"
  if [ "$mode" = recovery ]; then
    as bash -c "touch '$DEST/recovery.signal'
    { echo \"restore_command = '${CALL[*]} wal-get %f \\\"%p\\\"'\"; echo \"recovery_target = 'immediate'\"; echo \"recovery_target_action = 'promote'\"; } >>'$DEST/postgresql.conf'"
  else as rm -f "$DEST/recovery.signal"; fi
  local line rc wall rest got; lock_begin
  line=$(python3 "$WORK/bin/measure.py" "$PGU" 0 /nonexistent "" -- bash -c "pg_ctl -s -w -t 300 -D '$DEST' -l '$WORK/dest.log' start && for i in \$(seq 600); do [ \"\$(psql -qAtX -p $PORT3 -d postgres -c 'select pg_is_in_recovery()')\" = f ] && break; sleep 0.05; done; psql -qAtX -p $PORT3 -d bench -c \"$CHECKSQL\" >'$WORK/dest.check'" 2>>"$WORK/tool.log")
  IFS=$'\t' read -r rc wall rest <<<"$line"
  got=$(cat "$WORK/dest.check" 2>/dev/null); rm -f "$WORK/dest.check"
  as pg_ctl -s -m immediate -D "$DEST" stop >/dev/null 2>&1; lock_maybe_end
  [ "${rc:-1}" = 0 ] && [ "$got" = "$1" ] && { echo "ok $wall"; return; }
  echo "FAILED rc=${rc:-} got=$got"; tail -5 "$WORK/dest.log" >>"$WORK/tool.log"
}
record_start() { # $1 phase, $2 expected
  local r; do_start "$2" >"$WORK/start.out"; r=$(cat "$WORK/start.out")
  case $r in ok*) printf '%s\t%s\twarm\t1\t%s\t\t\t\t\t\t\t\tok\n' "$TOOL" "$1" "${r#ok}" >>"$RES" ;;
    *) printf '%s\t%s\twarm\t1\t\t\t\t\t\t\t\t\t%s\n' "$TOOL" "$1" "$r" >>"$RES" ;; esac
  log "$TOOL $1: $r"
}

no_incr() { case $1 in bb-*|cp-floor|dump-gz|dump-z0) return 0 ;; esac; return 1; }
# full backups; when restores are asked for too, each is restored at once, so
# that only repositories needed for the incrementals stay on disk
phase_full() {
  local r t exp; exp=$(q -c "$CHECKSQL")
  for r in $(seq "$COLD"); do for t in $LIST; do use_tool "$t"; as "${CALL[@]}" startmode >/dev/null || continue
    run_timed "$t" full cold "$r" "$REPO" prep_full "${CALL[@]}" full; set_archive none; wipe_repo; done; done
  for r in $(seq "$RUNS"); do for t in $LIST; do use_tool "$t"; as "${CALL[@]}" startmode >/dev/null || continue
    run_timed "$t" full warm "$r" "$REPO" prep_full "${CALL[@]}" full || continue
    has_phase restore || continue
    [ "$r" -le "$RRUNS" ] && restore_one "$t" "$r" "$exp"
    { [ "$r" -lt "$RUNS" ] || no_incr "$t" || ! has_phase incr; } && { set_archive none; wipe_repo; }
  done; done
  set_archive none; rm -rf "$WORK/dest"
}
restore_one() {
  run_timed "$1" restore warm "$2" "" prep_restore "${CALL[@]}" restore || return
  [ "$2" = 1 ] && record_start start "$3"
  rm -rf "$WORK/dest"
}
phase_restore() {  # restores alone, of repositories left by an earlier run
  local r t exp; exp=$(q -c "$CHECKSQL")
  for r in $(seq "$RRUNS"); do for t in $LIST; do use_tool "$t"; [ -d "$REPO" ] && restore_one "$t" "$r" "$exp"; done; done
}
apply_change() {
  lock_begin; set_archive keep; as mkdir -p "$WORK/wal_saved"
  case $1 in
    clustered) q -c "update pgbench_accounts set abalance = abalance + 1 where aid > (select max(aid)*0.50 from pgbench_accounts) and aid <= (select max(aid)*0.51 from pgbench_accounts)" ;;
    random)    q -c "update pgbench_accounts set abalance = abalance + 1 where (hashint4(aid) & 2147483647) % 100 = 0" ;;
  esac
  q -c checkpoint -c "select pg_switch_wal()" >/dev/null; drain_archive; set_archive none
  touch "$WORK/state.$1"; lock_maybe_end
}
phase_incr() {
  local r t sc exp
  for t in $LIST; do use_tool "$t"
    no_incr "$t" && { wipe_repo; [ "$t" = bb-plain ] || continue; as mkdir -p "$REPO"; }
    [ -d "$REPO" ] && { lock_begin; snap_repo; lock_maybe_end; }; done
  for sc in unchanged clustered random; do
    [ -f "$WORK/state.$sc" ] || { log "change: $sc"; apply_change "$sc"; }
    exp=$(q -c "$CHECKSQL")
    for r in $(seq "$IRUNS"); do for t in $LIST; do use_tool "$t"; [ -d "$REPO.base" ] || continue
      case $t in bb-plain) # yardstick of the round: a full one
          [ -d "$WORK/repo/bb-plain.y" ] && rm -rf "$WORK/repo/bb-plain.y"; REPO=$WORK/repo/bb-plain.y; as mkdir -p "$REPO"
          run_timed bb-plain "incr-$sc" warm "$r" "" prep_yard "${CALL[@]}" full; rm -rf "$REPO"; continue ;;
        *) no_incr "$t" && continue ;; esac
      run_timed "$t" "incr-$sc" warm "$r" "$REPO" prep_incr "${CALL[@]}" incr; done; done
  done
  for t in $LIST; do use_tool "$t"; no_incr "$t" && continue; [ -d "$REPO.base" ] || continue
    run_timed "$t" restore-incr warm 1 "" prep_restore "${CALL[@]}" restore && record_start start-incr "$exp"; done
  set_archive none; rm -rf "$WORK/dest"
}
seq_change() {  # $1 one of unchanged, spreadN, sparseN, clusterN
  local n=${1##*[a-z]} at; at=$(((60 + 2*n) % 98)); set_archive keep; as mkdir -p "$WORK/wal_saved"
  case $1 in
    spread*)  q -c "update pgbench_accounts set abalance = abalance + 1 where (hashint4(aid + $n * 7919) & 2147483647) % 100 = 0" ;;
    sparse*)  q -c "update pgbench_accounts set abalance = abalance + 1 where (hashint4(aid + $n * 104729) & 2147483647) % 2000 = 0" ;;
    cluster*) q -c "update pgbench_accounts set abalance = abalance + 1 where aid between (select max(aid)*0.01*$at from pgbench_accounts) and (select max(aid)*0.01*($at+1) from pgbench_accounts)" \
                -c "insert into docs select id + (select max(id) from docs), tenant, created_at, title, reverse(body), attrs from docs where id <= (select max(id)*0.01 from docs)" ;;
  esac
  q -c checkpoint -c "select pg_switch_wal()" >/dev/null; drain_archive; set_archive none
}
phase_seq() {
  local step t exp RETRIES=0 last=""
  prep_seq() { set_archive none; drain_archive; set_archive tool "$TOOL"; }
  for t in $LIST; do use_tool "$t"; no_incr "$t" && continue; as "${CALL[@]}" startmode >/dev/null || continue
    run_timed "$t" seq-0-full warm 1 "$REPO" prep_full "${CALL[@]}" full; done
  local i=0; for step in unchanged spread1 spread2 spread3 sparse1 sparse2 sparse3 cluster1 cluster2; do i=$((i+1))
    log "change: $step"; [ "$step" = unchanged ] || seq_change "$step"
    for t in $LIST; do use_tool "$t"; no_incr "$t" && continue; [ -d "$REPO" ] || continue
      run_timed "$t" "seq-$i-$step" warm 1 "$REPO" prep_seq "${CALL[@]}" incr; done; done
  exp=$(q -c "$CHECKSQL")
  for t in $LIST; do use_tool "$t"; no_incr "$t" && continue; [ -d "$REPO" ] || continue
    run_timed "$t" seq-restore warm 1 "" prep_restore "${CALL[@]}" restore && record_start seq-start "$exp"; done
  set_archive none; rm -rf "$WORK/dest"
}
weekly_full() { case $1 in pgbr*|walg-*) return 0 ;; esac; return 1; }  # the others' incrementals restore alone
phase_weeks() {
  local day t exp RETRIES=0
  prep_day() { set_archive none; drain_archive; set_archive tool "$TOOL"; }
  for t in $LIST; do use_tool "$t"; wipe_repo; done
  for day in $(seq 0 27); do
    [ "$day" = 0 ] || { log "change: day $day"; seq_change "cluster$day"; }
    for t in $LIST; do use_tool "$t"; no_incr "$t" && continue; as "${CALL[@]}" startmode >/dev/null || continue
      if [ "$day" = 0 ]; then run_timed "$t" weeks-full warm "$day" "$REPO" prep_full "${CALL[@]}" full
      elif [ $((day % 7)) = 0 ] && weekly_full "$t"; then run_timed "$t" weeks-full warm "$day" "$REPO" prep_day "${CALL[@]}" full
      else run_timed "$t" weeks-incr warm "$day" "$REPO" prep_day "${CALL[@]}" incr; fi
    done; done
  exp=$(q -c "$CHECKSQL")
  for t in $LIST; do use_tool "$t"; no_incr "$t" && continue; [ -d "$REPO" ] || continue
    printf '%s\tweeks-kept\twarm\t1\t\t\t\t\t\t\t\t%s\tok\n' "$t" "$(du -sm --apparent-size "$REPO" | cut -f1)" >>"$RES"
    run_timed "$t" weeks-restore warm 1 "" prep_restore "${CALL[@]}" restore && record_start weeks-start "$exp"; done
  set_archive none; rm -rf "$WORK/dest"
}
prep_yard() { rm -rf "$REPO"; as mkdir -p "$REPO"; set_archive none; drain_archive; }

phase_wal() {
  local t n r l="wal-cp"
  command -v pgbackrest >/dev/null && l+=" pgbr-none pgbr-lz4 pgbr-zst3 pgbr-gz pgbr-lz4-aes pgbr-lz4-async pgbr-zst3-async"
  [ -n "$PGBR2_BIN" ] && l+=" pgbrN-lz4 pgbrN-zst3 pgbrN-lz4-async pgbrN-zst3-async"
  [ -n "$WALG_BIN" ] && l+=" walg-lz4 walg-zstd"
  for t in "${ADAPTERS[@]:-}"; do [ -n "$t" ] && l+=" ${t%%=*}"; done
  export WALDIR=$WORK/walbench/pgdata/pg_wal SEGLIST=$WORK/walbench/segs
  prep_wal() {
    rm -rf "$WORK/walbench"; as mkdir -p "$WALDIR/archive_status" "$WORK/walbench/pgdata/global"
    as cp "$PGDATA/PG_VERSION" "$WORK/walbench/pgdata/"; as cp "$PGDATA/global/pg_control" "$WORK/walbench/pgdata/global/"
    ls "$WORK/wal_saved" | grep -E '^[0-9A-F]{24}$' | tail -n +3 | head -n "$MAXSEG" >"$SEGLIST"; chmod 644 "$SEGLIST"
    local s; while read -r s; do as ln "$WORK/wal_saved/$s" "$WALDIR/$s" && as touch "$WALDIR/archive_status/$s.ready"; done <"$SEGLIST"
  }
  prep_push() { prep_wal; rm -rf "$REPO"; set_archive none; as "${CALL[@]}" init >>"$WORK/tool.log" 2>&1; }
  prep_get() { rm -f "$WALDIR/RECOVERYXLOG"; rm -rf "$WORK/pgbr-spool/archive/b/in" "$WALDIR/.wal-g"; }
  for r in $(seq "$RUNS"); do for t in $l; do
    use_tool "$t"; REPO=$WORK/repo/wal-$t; export REPO
    run_timed "$t" wal-push warm "$r" "$REPO" prep_push "${CALL[@]}" wal-push-loop || continue
    run_timed "$t" wal-get warm "$r" "" prep_get "${CALL[@]}" wal-get-loop
    rm -rf "$REPO"; done; done
  rm -rf "$WORK/walbench"
}

summary() {
  local nseg; nseg=$(ls "$WORK/wal_saved" 2>/dev/null | grep -cE '^[0-9A-F]{24}$'); nseg=$((nseg-2)); [ "$nseg" -gt "$MAXSEG" ] && nseg=$MAXSEG
  python3 - "$RES" "$nseg" <<'EOS' | tee "$WORK/summary.tsv"
import sys, csv, statistics as st, collections
rows = [r for r in csv.DictReader(open(sys.argv[1]), delimiter='\t')]; nseg = int(sys.argv[2])
G = collections.OrderedDict()
for r in rows: G.setdefault((r['phase'], r['cache'], r['tool']), []).append(r)
base = {(r['phase'], r['cache'], r['run']): float(r['wall_s']) for r in rows if r['tool'] == 'bb-plain' and r['wall_s'].strip() and r['note'] in ('ok', 'noisy')}
def med(rs, k):
    v = [float(r[k]) for r in rs if r[k] and r[k].strip()]
    return st.median(v) if v else None
f = lambda x, n=2: '' if x is None else '%.*f' % (n, x)
print('\t'.join('phase cache tool runs wall_s ratio_vs_bb_plain tool_cpu_s server_cpu_s max_rss_mb peak_pss_mb size_mb wall_min wall_max per_s note'.split()))
order = ['full', 'restore', 'start', 'incr-unchanged', 'incr-clustered', 'incr-random', 'restore-incr', 'start-incr', 'wal-push', 'wal-get']
for (ph, ca, t), rs in sorted(G.items(), key=lambda kv: (order.index(kv[0][0]) if kv[0][0] in order else 99, kv[0][1])):
    good = [r for r in rs if r['note'] in ('ok', 'noisy')]
    note = ','.join(sorted({r['note'] for r in rs if r['note'] != 'ok'}))
    w = [float(r['wall_s']) for r in good if r['wall_s'].strip()]
    bp = ph
    ra = [float(r['wall_s']) / base[(bp, ca, r['run'])] for r in good if r['wall_s'].strip() and (bp, ca, r['run']) in base]
    if ph == 'restore-incr' and w:
        b = [v for (p, c, _), v in base.items() if p == 'restore']; ra = [st.median(w) / st.median(b)] if b else []
    per = nseg / st.median(w) if ph.startswith('wal-') and w else None
    print('\t'.join([ph, ca, t, str(len(good)), f(st.median(w) if w else None), f(st.median(ra) if ra else None), f(med(good, 'tool_cpu_s')), f(med(good, 'server_cpu_s')),
        f(med(good, 'max_rss_mb'), 0), f(med(good, 'peak_pss_mb'), 0), f(med(good, 'size_mb'), 0), f(min(w) if w else None), f(max(w) if w else None), f(per, 1), note]))
EOS
}

LIST=$(tool_list)
has_phase setup && setup
for p in limits full restore incr seq weeks wal; do has_phase $p && { server_up; break; }; done
has_phase limits && limits
has_phase full && { log "tools: $LIST"; phase_full; }
has_phase restore && { has_phase full || phase_restore; }
has_phase incr && phase_incr
has_phase seq && phase_seq
has_phase weeks && phase_weeks
has_phase wal && phase_wal
set_archive none
has_phase summary && summary
for d in "$PGDATA" "$WORK/pg2"; do [ -f "$d/postmaster.pid" ] && as pg_ctl -s -m fast -D "$d" stop; done
exit 0
