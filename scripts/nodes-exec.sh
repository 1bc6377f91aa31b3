#!/usr/bin/env bash
# nodes-exec.sh K CMD...: runs CMD in node K of nodes-up.sh (0: ctl) as the user of RETHAW_NODES_USER, in the current
# folder. Needs root.
set -euo pipefail

state=${RETHAW_NODES_STATE:-/tmp/rethaw-nodes}
user=${RETHAW_NODES_USER:?the ordinary user}
name=node$1
[ "$1" != 0 ] || name=ctl
shift
holder=$(cat "$state/$name.pid")
first=$(pgrep -o -P "$holder")
home=$(getent passwd "$user" | cut -d: -f6)
exec nsenter --target "$first" --net --uts --mount --ipc --pid --wd="$PWD" \
    runuser -u "$user" -- env HOME="$home" USER="$user" LOGNAME="$user" RETHAW_NODES_STATE="$state" "$@"
