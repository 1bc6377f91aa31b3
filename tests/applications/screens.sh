# screens.sh LOG: tmux with a shell, vim and less in it, and a client on a terminal; the screens are what is compared.
log=$1
export TMUX_TMPDIR=$PWD TERM=xterm PS1='$ ' ENV= LESS= LC_ALL=C.UTF-8
unset TMUX
seq 1 500 | sed 's/^/line /' >text
rm -f letter keyboard
mkfifo keyboard
mux() { tmux -L server -f /dev/null "$@"; }
expect() { # WINDOW TEXT
    until mux capture-pane -p -t "$1" | grep -q -F -- "$2"; do sleep 0.05; done
}
show() {
    for window in shell vim less; do
        echo "== $window"
        mux capture-pane -p -t $window
    done >&3
}
exec 3>"$log"
mux new-session -d -x 60 -y 12 -n shell sh
mux set-option -g status off
mux new-window -d -n vim 'vim -u NONE -N -n letter'
mux new-window -d -n less 'less text'
expect less 'line 1'
expect vim '~'
# Opened for writing too, its end never comes.
script -q -c "tmux -L server attach" /dev/null <>keyboard >attached &
round=0
while [ $round -lt 12 ]; do
    round=$((round + 1))
    mux send-keys -t shell "clear; echo begin $round; sleep 0.1; echo end \$(($round * 7))" Enter
    mux send-keys -t vim "ggOround $round" Escape ":echo 'wrote' line('\$')" Enter
    mux send-keys -t less "$((round * 20))g"
    expect shell "end $((round * 7))"
    expect vim "wrote $((round + 1))"
    expect less "line $((round * 20))"
    [ $((round % 4)) -ne 0 ] || show
done
mux send-keys -t vim ":w" Enter
expect vim 'written'
cat letter >&3
mux kill-server
wait
echo "the end" >&3
