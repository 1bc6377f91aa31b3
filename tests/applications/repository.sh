# repository.sh LOG: git with commits, branches, merges, a clone, and the packing of everything.
set -e
log=$1
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
rm -rf project copy
git init -q -b main project
cd project
step=0
while [ $step -lt 20 ]; do
    step=$((step + 1))
    export GIT_AUTHOR_DATE="$((1700000000 + step)) +0000" GIT_COMMITTER_DATE="$((1700000000 + step)) +0000"
    if [ $((step % 10)) -eq 5 ]; then git checkout -q -b "branch$step"; fi
    seq $step $((step * 50)) >"file$((step % 7))"
    git add .
    git commit -q -m "step $step"
    if [ $((step % 10)) -eq 9 ]; then
        branch=$(git symbolic-ref --short HEAD)
        git checkout -q main
        git merge -q --no-ff -m "merge $branch" "$branch"
    fi
done
git gc -q --aggressive --prune=now
git fsck --full 2>&1
git clone -q . ../copy
{
    git log --graph --format='%h %s'
    git -C ../copy rev-parse HEAD
    git count-objects
} >"../$log"
