# archive.sh LOG: awk, tar and xz with threads in pipelines. What a restart has cut off of files is not for the archive.
log=$1
mkdir -p tree
awk 'BEGIN {
    for (file = 0; file < 12; file++)
        for (line = 0; line < 5000; line++) {
            x = (x * 1103515245 + 12345) % 2147483648
            printf "%d %x\n", line, x > ("tree/" file)
        }
}'
exec 3>"$log"
for level in 1 3 5; do
    tar -c --exclude='*.rethaw-cut.*' --sort=name --mtime=@0 --owner=0 --group=0 tree | xz -T4 --block-size=100000 -$level | tee packed$level |
        xz -d -T2 | tar -x -O | awk '{ sum = (sum * 31 + length($0) + $1) % 1000003 } END { print NR, sum }' >&3
    cksum <packed$level >&3
done
