#!/usr/bin/env bash
# Makes "nodes" on this machine for the tests of computations on several nodes. Needs root.
#
#   nodes-up.sh [N]            N nodes (default 3), node1 … nodeN at 10.77.0.11 and following, and the host "ctl"
#   nodes-exec.sh K CMD...     runs CMD in node K (0: ctl) as the user of RETHAW_NODES_USER
#   nodes-down.sh              ends them and everything in them
#
# A node is a network, host name, mount, IPC and pid namespace with its own /tmp and /dev/shm and an sshd, which the user
# reaches without a password. All other folders are seen by all nodes, and those of RETHAW_NODES_SHARED too where they are
# below /tmp. All traffic stays inside of these namespaces.
set -euo pipefail

count=${1:-3}
state=${RETHAW_NODES_STATE:-/tmp/rethaw-nodes}
user=${RETHAW_NODES_USER:?the ordinary user}
export PATH=$PATH:/usr/sbin:/sbin

die() {
    printf 'nodes-up: %s\n' "$*" >&2
    exit 1
}

await() {
    local what=$1
    shift
    for _ in $(seq 100); do
        if "$@" >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    die "not within 10 s: $what (see $state)"
}

make_keys() {
    ssh-keygen -q -t ed25519 -N '' -f "$state/host_key"
    ssh-keygen -q -t ed25519 -N '' -f "$state/user_key"
    chown "$user" "$state/user_key"
    cp "$state/user_key.pub" "$state/authorized_keys"
    cat >"$state/ssh_config" <<CONF
Host node*
    IdentityFile $state/user_key
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
CONF
    # sshd refuses accounts that are locked.
    usermod --password '*' "$user"
}

# make_network NAMESPACE ADDRESS: a network namespace whose eth0 is at the bridge of ctl.
make_network() {
    ip netns add "$1"
    ip -n "$1" link set lo up
    ip -n rethaw-ctl link add "v-$1" type veth peer name eth0 netns "$1"
    ip -n rethaw-ctl link set "v-$1" master br0 up
    ip -n "$1" addr add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
}

# start_host NAMESPACE NAME CMD...: CMD in namespaces of its own. nsenter, because `ip netns exec` hides /sys/fs/cgroup.
start_host() {
    local namespace=$1 name=$2
    shift 2
    setsid nsenter --net="/run/netns/$namespace" unshare --uts --mount --ipc --pid --fork --mount-proc --kill-child \
        bash -c '
            name=$1 state=$2
            shift 2
            hostname "$name"
            mount --make-rprivate /
            mount --bind "$state/hosts" /etc/hosts
            mount -t tmpfs -o mode=1777 tmpfs /dev/shm
            mkdir -p "$state/tmp.$name"
            mount -t tmpfs -o mode=1777 tmpfs "$state/tmp.$name"
            for folder in "$state" ${RETHAW_NODES_SHARED:-}; do
                case $folder in /tmp/?*)
                    mkdir -p "$state/tmp.$name/${folder#/tmp/}"
                    mount --rbind "$folder" "$state/tmp.$name/${folder#/tmp/}"
                    ;;
                esac
            done
            mount --move "$state/tmp.$name" /tmp
            mkdir -p /run/sshd
            "$@" &
            wait $!' _ "$name" "$state" "$@" </dev/null >>"$state/$name.log" 2>&1 &
    echo $! >"$state/$name.pid"
}

write_sshd_config() {
    cat >"$state/sshd.conf" <<CONF
Port 22
HostKey $state/host_key
PidFile none
AuthorizedKeysFile $state/authorized_keys
UsePAM no
PasswordAuthentication no
StrictModes no
SetEnv PATH=$PATH RETHAW_NODES_STATE=$state
CONF
}

[ "$(id -u)" -eq 0 ] || die "network namespaces between nodes need root"
command -v sshd >/dev/null || die "sshd is not installed; scripts/install-test-deps.sh does that"
case $state in /tmp/?*) ;; *) die "RETHAW_NODES_STATE must be below /tmp" ;; esac
if [ -d "$state" ]; then
    "$(dirname "$0")/nodes-down.sh"
fi
install -d -m 755 "$state"
mkdir -p /run/sshd
{
    printf '127.0.0.1 localhost\n10.77.0.1 ctl\n'
    for node in $(seq "$count"); do printf '10.77.0.%d node%d\n' $((10 + node)) "$node"; done
} >"$state/hosts"
make_keys
write_sshd_config
ip netns add rethaw-ctl
ip -n rethaw-ctl link set lo up
ip -n rethaw-ctl link add br0 type bridge
ip -n rethaw-ctl addr add 10.77.0.1/24 dev br0
ip -n rethaw-ctl link set br0 up
start_host rethaw-ctl ctl sleep infinity
for node in $(seq "$count"); do
    make_network "rethaw-node$node" "10.77.0.$((10 + node))"
    start_host "rethaw-node$node" "node$node" "$(command -v sshd)" -D -e -f "$state/sshd.conf"
done
for node in $(seq "$count"); do
    await "sshd of node$node" nsenter --net=/run/netns/rethaw-ctl bash -c ": </dev/tcp/10.77.0.$((10 + node))/22"
done
printf 'nodes-up: %d nodes are up\n' "$count"
