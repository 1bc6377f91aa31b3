#!/usr/bin/env bash
# Benchmarks: the cost between checkpoints (paired runs with and without rethaw), and pause, time to durable and restart
# time for 1 and 4 GiB as ratios to memcpy and to the raw disk in the same run.
#
#   scripts/bench.sh [between [PAIRS] | checkpoint [GIB...]] [--json]      default: both
set -euo pipefail
cd "$(dirname "$0")/.."
for path in /proc/self/fd/*; do
    number=${path##*/}
    if [ "$number" -gt 2 ] && [ "$number" -ne 255 ]; then eval "exec $number>&-"; fi
done
cargo build --release --locked --quiet -p rethaw -p rethaw-harness --bin rethaw --bin bench --bin build-programs
target=${CARGO_TARGET_DIR:-$PWD/target}
"$target/release/build-programs" >/dev/null
if [ $# -gt 0 ] && [ "$1" != --json ]; then
    exec "$target/release/bench" "$@"
fi
"$target/release/bench" between "$@"
"$target/release/bench" checkpoint "$@"
