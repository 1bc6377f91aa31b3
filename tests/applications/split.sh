# split.sh LOG: GNU screen with a shell in it, and a client on a terminal; the screens are what is compared.
log=$1
export SCREENDIR=$PWD/sockets TERM=xterm PS1='$ ' ENV= LC_ALL=C.UTF-8
rm -rf sockets
mkdir -m 700 sockets
rm -f keyboard
mkfifo keyboard
do_screen() { screen -S server "$@" >screen.out; } # says so while there is no server yet
# After a restart, a file that was removed since the checkpoint is not there: then it is asked for again.
expect() { # TEXT
    until printf '%s' "$text" | grep -q -F -- "$1"; do
        rm -f copy
        do_screen -p 0 -X hardcopy "$PWD/copy"
        sleep 0.05
        text=$(cat copy 2>/dev/null)
    done
}
exec 3>"$log"
do_screen -c /dev/null -d -m sh
# Opened for writing too, its end never comes.
script -q -c "screen -x -S server" /dev/null <>keyboard >attached &
round=0 text=
while [ $round -lt 15 ]; do
    round=$((round + 1))
    until do_screen -p 0 -X stuff "clear; echo begin $round; sleep 0.1; echo end \$(($round * 7)).
"; do sleep 0.05; done
    expect "end $((round * 7))."
    printf '%s\n' "$text" | grep -v '^$' >&3
done
do_screen -X quit
wait
echo "the end" >&3
