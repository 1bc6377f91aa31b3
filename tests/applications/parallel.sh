# parallel.sh LOG: GNU parallel and xargs -P with many small processes.
log=$1
exec 3>"$log"
parallel --will-cite -j4 -k 'sleep 0.0{= $_ %= 10 =}; echo "job {#}: $(({} * {} * 7))"; exit $(({} % 2))' ::: $(seq 60) >&3
echo "parallel $?" >&3
seq 200 | xargs -P 4 -n 1 sh -c 'sleep 0.01; echo "$1 $(($1 * $1))"' sh | sort -n >&3
echo "xargs $?" >&3
