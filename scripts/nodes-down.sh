#!/usr/bin/env bash
# Ends the nodes of nodes-up.sh with everything in them, and removes their namespaces and state. Needs root.
set -euo pipefail

state=${RETHAW_NODES_STATE:-/tmp/rethaw-nodes}
export PATH=$PATH:/usr/sbin:/sbin
for file in "$state"/*.pid; do
    [ -s "$file" ] || continue
    pid=$(cat "$file")
    # The first process of a node dies with the holder (--kill-child), and with it all others.
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = unshare ]; then
        kill -KILL "$pid" 2>/dev/null || true
    fi
done
for namespace in $(ip netns list | awk '/^rethaw-(ctl|node[0-9]+)/ { print $1 }'); do
    ip netns delete "$namespace"
done
rm -rf "$state"
printf 'nodes-down: ended\n'
