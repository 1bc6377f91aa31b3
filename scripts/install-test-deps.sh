#!/usr/bin/env bash
# Installs what the tests, the demonstration and the benchmarks need on Debian 12 beside the Rust toolchain.
# Safe to run again: what is there is left alone. Needs root (or sudo) only when something is missing.
#
#   install-test-deps.sh [minimal]     minimal: only what scripts/demo.sh needs
set -euo pipefail

minimal=(gcc libc6-dev python3 python3-numpy libopenblas0-openmp procps util-linux)
full=(musl-tools golang-go python3-venv slurm-wlm slurm-wlm-basic-plugins munge bsdutils coreutils iproute2 openssh-server openssh-client)
# Programs that we did not write (crates/harness/tests/applications.rs).
full+=(busybox-static make perl sqlite3 redis-server postgresql nginx-light openjdk-17-jdk-headless nodejs ruby r-base-core
    octave python3-ipykernel python3-jupyter-client python3-torch tmux vim less gdb xz-utils parallel git
    python3-joblib python3-distributed python3-h5py gfortran valgrind sbcl erlang-base screen)
# MPI, and programs with it (crates/harness/tests/mpi.rs).
full+=(openmpi-bin libopenmpi-dev mpich libmpich-dev lammps gromacs hpcc)

say() { printf 'install-test-deps: %s\n' "$*"; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        say "missing packages, and neither root nor sudo to install them: $*" >&2
        return 1
    fi
}

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]
}

wanted=("${minimal[@]}")
[ "${1:-}" = minimal ] || wanted+=("${full[@]}")
missing=()
for package in "${wanted[@]}"; do
    installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    say "nothing to do: all ${#wanted[@]} packages are installed"
    exit 0
fi

say "installing: ${missing[*]}"
# Slurm's and munge's daemons are started by the tests' own script, not by their packages.
policy=/usr/sbin/policy-rc.d
made_policy=no
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    made_policy=yes
fi
remove_policy() {
    [ "$made_policy" = no ] || as_root rm -f "$policy"
}
trap remove_policy EXIT
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -qq)
as_root "${apt[@]}" update </dev/null || say "apt-get update failed; trying with the lists that are there"
as_root "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null
say "done"
