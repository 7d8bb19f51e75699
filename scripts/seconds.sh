#!/usr/bin/env bash
# Prints a time such as 90s, 30m or 2h in seconds.
set -euo pipefail

case $1 in
*h) echo $((${1%h} * 3600)) ;;
*m) echo $((${1%m} * 60)) ;;
*s) echo "${1%s}" ;;
*) echo "$1" ;;
esac
