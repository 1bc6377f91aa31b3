# pipeline.sh LOG: a pipeline, jobs in the background, traps, a coprocess, in any shell of Bourne's family.
log=$1
exec 3>"$log"
signals=0
trap 'signals=$((signals + 1))' USR1
trap 'echo "the end, $signals signals" >&3' EXIT

numbers() {
    number=0
    while [ $number -lt 40 ]; do
        number=$((number + 1))
        echo "$1 $number $((number * number * $1))"
        sleep 0.03
    done
}

numbers 1 >first &
numbers 2 >second &
jobs="$!"
numbers 3 | sed 's/ /:/g' | while read -r line; do echo "<$line>"; done >third &
jobs="$jobs $!"

round=0
while [ $round -lt 12 ]; do
    round=$((round + 1))
    { sleep 0.1; kill -USR1 $$; } &
    child=$!
    # A trap ends `wait` early.
    while kill -0 $child 2>/dev/null; do wait $child; done
    sum=$(numbers 7 | head -n 4 | cut -d ' ' -f 3 | paste -s -d + - | sed 's/$/+0/')
    echo "round $round: $((sum)), $signals signals" >&3
done
wait
(exit 7) &
wait $!
echo "status $?" >&3
cat first second third >&3
