#!/usr/bin/env bash
# The main job in small: a NumPy program under `rethaw run` is killed with SIGKILL and, by the same command line, goes
# on where it was. Installs what is needed, builds rethaw, and compares the result with an uninterrupted run.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

say() { printf '\n== %s\n' "$*"; }

for path in /proc/self/fd/*; do
    number=${path##*/}
    if [ "$number" -gt 2 ] && [ "$number" -ne 255 ]; then eval "exec $number>&-"; fi
done
command -v cargo >/dev/null || {
    echo "demo: cargo is not on the PATH; install the Rust toolchain first" >&2
    exit 1
}
scripts/install-test-deps.sh minimal
say "building rethaw"
cargo build --release --locked -p rethaw
rethaw=${CARGO_TARGET_DIR:-$root/target}/release/rethaw

place=$(mktemp -d "${TMPDIR:-/tmp}/rethaw-demo.XXXXXX")
job=
cleanup() {
    if [ -n "$job" ]; then kill -KILL -- "-$job" 2>/dev/null || true; fi
    rm -rf "$place"
}
trap cleanup EXIT
cd "$place"
cp "$root/examples/matmul.py" .
export OMP_NUM_THREADS=2

program() { # program LOG ITERATIONS
    printf '%s\n' /usr/bin/python3 -u "$place/matmul.py" --size 1000 --seed 1 --log "$1" --iterations "$2"
}

say "how long ten iterations take here"
mapfile -t words < <(program "$place/trial.log" 10)
begin=$(date +%s%N)
"${words[@]}" >/dev/null
each_ms=$((($(date +%s%N) - begin) / 10000000 + 1))
count=$((12000 / each_ms))
if [ "$count" -lt 20 ]; then count=20; fi
say "an uninterrupted run of $count iterations, for comparison"
mapfile -t words < <(program "$place/reference.log" "$count")
"${words[@]}" | tail -n 1

mapfile -t words < <(program "$place/demo.log" "$count")
say "rethaw run -i 2 -- python3 -u matmul.py"
setsid "$rethaw" run -i 2 --dir "$place/checkpoints" -- "${words[@]}" > >(sed -u 's/^/    /') 2>&1 &
job=$!
for _ in $(seq 600); do
    if compgen -G "$place/checkpoints/*.rethaw" >/dev/null; then break; fi
    sleep 0.1
done
sleep 1.5
say "SIGKILL to rethaw and to the program"
kill -KILL -- "-$job"
wait "$job" 2>/dev/null || true
job=
sleep 0.3
at=$(wc -l <demo.log)
echo "    the program's log has $at of $((count + 1)) lines"

say "the same command again: it goes on"
"$rethaw" run -i 2 --dir "$place/checkpoints" -- "${words[@]}" 2>&1 | sed -u 's/^/    /'
say "the log of the killed run against that of the uninterrupted one"
if ! cmp reference.log demo.log; then
    echo "demo: the results differ" >&2
    exit 1
fi
echo "    identical: $(tail -n 1 demo.log)"
