#!/usr/bin/env bash
# Run the scripts named, or all of them, two at once, and print one line for each.
# Exits 1 if the behaviour of a library has changed. The output is kept in _build/findings.
set -uo pipefail
here=$(dirname "$0")
logs=$here/../_build/findings
mkdir -p "$logs"

if [ "${1:-}" = --one ]; then
  name=$(basename "$2" .sh)
  status=0
  bash "$2" >"$logs/$name.txt" 2>&1 || status=$?
  case $status in
    0) echo "holds                    $name" ;;
    3) echo "could not be installed   $name" ;;
    *) echo "CHANGED                  $name   (see _build/findings/$name.txt)" ;;
  esac
  [ "$status" = 0 ] || [ "$status" = 3 ]
  exit
fi

if [ $# = 0 ]; then
  for script in "$here"/*.sh; do
    [ "$script" = "$here/run.sh" ] || set -- "$@" "$script"
  done
fi
printf '%s\0' "$@" | xargs -0 -n 1 -P 2 bash "$0" --one || exit 1
