#!/usr/bin/env bash
# Installs what the tests and the demo need and this machine lacks, by apt-get, with sudo when the user is not root.
# Does nothing, quickly, when nothing is missing.
set -euo pipefail

PG_MAJOR=15
pgbin=/usr/lib/postgresql/$PG_MAJOR/bin

if ! command -v go >/dev/null; then
	echo "deps: go is missing: install Go 1.26 from https://go.dev/dl/" >&2
	exit 1
fi

packages=()
need() { # need FILE-OR-PROGRAM PACKAGE
	case $1 in
	/*) [ -e "$1" ] || packages+=("$2") ;;
	*) command -v "$1" >/dev/null || packages+=("$2") ;;
	esac
}
for program in postgres initdb pg_verifybackup pg_amcheck pg_dump pgbench psql; do
	need "$pgbin/$program" "postgresql-$PG_MAJOR"
done
need restic restic
need curl curl
need openssl openssl
need /usr/bin/python3 python3
need /usr/lib/python3/dist-packages/requests/__init__.py python3-requests
need jq jq
need gcc gcc
need g++ g++
need /usr/include/stdlib.h libc6-dev
need unshare util-linux
need git git
[ ${#packages[@]} -gt 0 ] || exit 0

mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
echo "deps: installing ${packages[*]}" >&2

if ! command -v apt-get >/dev/null; then
	echo "deps: this is no Debian; install by hand what these packages hold: ${packages[*]}" >&2
	exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null; then
		echo "deps: sudo is missing; run as root: apt-get install ${packages[*]}" >&2
		exit 1
	fi
	as_root=(sudo)
fi
apt() {
	"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" >&2
}

apt update
# Debian makes and starts a cluster with the server's package. Nobody asked for one: a setting that is there for the time
# of the installation prevents it.
conf=/etc/postgresql-common/createcluster.d/holdfast-deps.conf
case " ${packages[*]} " in
*" postgresql-$PG_MAJOR "*)
	apt install --no-install-recommends postgresql-common
	trap '"${as_root[@]}" rm -f "$conf"' EXIT
	"${as_root[@]}" mkdir -p "${conf%/*}"
	echo 'create_main_cluster = false' | "${as_root[@]}" tee "$conf" >/dev/null
	;;
esac
apt install --no-install-recommends "${packages[@]}"
