#!/usr/bin/env bash
# Stops the Slurm that slurm-up.sh started (only processes that it recorded) and removes its state.
set -euo pipefail

state=${RETHAW_SLURM_STATE:-/tmp/rethaw-slurm}
export PATH=$PATH:/usr/sbin:/sbin

# stop NAME PIDFILE: ends the process if it still is what it was.
stop() {
    local name=$1 file=$2 pid
    [ -s "$file" ] || return 0
    pid=$(cat "$file")
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" != "$name" ]; then
        return 0
    fi
    kill -TERM "$pid"
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
}

if [ ! -d "$state" ]; then
    printf 'slurm-down: nothing at %s\n' "$state"
    exit 0
fi
if [ -e "$state/env.sh" ]; then
    # shellcheck source=/dev/null
    . "$state/env.sh"
    # A slurmstepd outlives its slurmd: end the jobs first.
    mapfile -t jobs < <(timeout 10 squeue --noheader --format=%i 2>/dev/null || true)
    for job in "${jobs[@]}"; do
        timeout 10 scancel --full --signal=KILL "$job" 2>/dev/null || true
        timeout 10 scancel "$job" 2>/dev/null || true
    done
    for _ in $(seq 100); do
        [ -n "$(timeout 10 squeue --noheader 2>/dev/null || true)" ] || break
        sleep 0.1
    done
fi
stop slurmd "$state/run/slurmd.pid"
stop slurmctld "$state/ctld/run/slurmctld.pid"
stop munged "$state/munge/run/munged.pid"
rm -rf "$state"
printf 'slurm-down: stopped\n'
