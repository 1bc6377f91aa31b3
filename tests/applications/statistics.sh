# statistics.sh LOG: a loop that sleeps as a service does, and awk with pipes to and from other programs.
log=$1
# A log that stays open is put back to its length at a restart; one that is opened anew for every line is not.
exec 3>"$log"
round=0
while sleep 0.1; do
    round=$((round + 1))
    seq $((round * 100)) | awk -v round=$round '
        { count[$1 % 13]++; sum += sqrt($1) }
        END {
            for (key in count) print key, count[key] | "sort -n | cksum"
            close("sort -n | cksum")
            command = "echo " round " | tr 0-9 a-j"
            command | getline word
            printf "round %d %s %.6f\n", round, word, sum
        }' >&3
    [ $round -lt 20 ] || break
done
