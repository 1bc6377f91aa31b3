#!/usr/bin/env bash
# Starts a real Slurm of one node on this machine, without systemd, for the tests. Needs root.
#
#   slurm-up.sh                state in $RETHAW_SLURM_STATE (default /tmp/rethaw-slurm)
#   . STATE/env.sh             sets SLURM_CONF for sbatch, squeue and the others
#   slurm-down.sh              stops it again
#
# A cluster that runs already is left as it is. Variables: RETHAW_SLURM_CPUS (declared processors, default 4: a node
# may declare more than it has), RETHAW_SLURM_KILL_WAIT (seconds between SIGTERM and SIGKILL at the time limit, default 5).
set -euo pipefail

state=${RETHAW_SLURM_STATE:-/tmp/rethaw-slurm}
cpus=${RETHAW_SLURM_CPUS:-4}
kill_wait=${RETHAW_SLURM_KILL_WAIT:-5}
port=${RETHAW_SLURM_PORT:-27817}
export PATH=$PATH:/usr/sbin:/sbin
export SLURM_CONF=$state/etc/slurm.conf

die() {
    printf 'slurm-up: %s\n' "$*" >&2
    exit 1
}

# Waits up to 60 s until the command succeeds.
await() {
    local what=$1
    shift
    for _ in $(seq 600); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    die "not within 60 s: $what (logs are in $state/log)"
}

node_is_idle() {
    [ "$(sinfo --noheader --states=idle --format=%D 2>/dev/null | head -n 1)" = 1 ]
}

make_folders() {
    install -d -m 755 "$state" "$state/etc" "$state/run" "$state/log" "$state/spool"
    install -d -m 755 -o slurm -g slurm "$state/ctld" "$state/ctld/run" "$state/ctld/log"
    install -d -m 711 -o munge -g munge "$state/munge" "$state/munge/log"
    install -d -m 755 -o munge -g munge "$state/munge/run"
}

start_munged() {
    if [ ! -s "$state/munge/key" ]; then
        dd if=/dev/urandom of="$state/munge/key" bs=256 count=1 status=none
        chown munge:munge "$state/munge/key"
        chmod 400 "$state/munge/key"
    fi
    runuser -u munge -- munged --key-file="$state/munge/key" --socket="$state/munge/run/socket" \
        --pid-file="$state/munge/run/munged.pid" --log-file="$state/munge/log/munged.log" \
        --seed-file="$state/munge/seed" </dev/null
    await "munge" munge -S "$state/munge/run/socket" --no-input
}

write_configuration() {
    local host memory
    host=$(hostname -s)
    memory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.9) }' /proc/meminfo)
    cat >"$state/etc/slurm.conf" <<CONF
ClusterName=rethaw-test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=slurm
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$state/munge/run/socket
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/spool
SlurmctldPidFile=$state/ctld/run/slurmctld.pid
SlurmdPidFile=$state/run/slurmd.pid
SlurmctldLogFile=$state/ctld/log/slurmctld.log
SlurmdLogFile=$state/log/slurmd.log
PlugStackConfig=/dev/null
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=5
KillWait=$kill_wait
MinJobAge=3600
InactiveLimit=0
ReturnToService=2
JobRequeue=1
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cpus RealMemory=$memory
PartitionName=main Nodes=node1 Default=YES MaxTime=INFINITE DefaultTime=5 State=UP
CONF
    printf 'CgroupPlugin=autodetect\nCgroupAutomount=no\n' >"$state/etc/cgroup.conf"
    printf 'export SLURM_CONF=%q\n' "$state/etc/slurm.conf" >"$state/env.sh"
}

[ "$(id -u)" -eq 0 ] || die "Slurm's daemons need root"
command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null ||
    die "Slurm is not installed; scripts/install-test-deps.sh does that"
if [ -e "$state/env.sh" ] && node_is_idle; then
    printf 'slurm-up: runs already; . %s/env.sh\n' "$state"
    exit 0
fi
# What an earlier run left behind, or half of a start.
if [ -d "$state" ]; then
    "$(dirname "$0")/slurm-down.sh"
fi
make_folders
rm -f "$state/run/slurmd.pid" "$state/ctld/run/slurmctld.pid" "$state/munge/run/munged.pid"
write_configuration
start_munged
slurmctld -i </dev/null
await "slurmctld" scontrol ping
slurmd -N node1 </dev/null
await "an idle node" node_is_idle
printf 'slurm-up: one node with %s processors is up; . %s/env.sh\n' "$cpus" "$state"
