# postgres.sh prepare: makes a PostgreSQL database.
# postgres.sh LOG: a server, clients that write at the same time, and what its files hold in the end.
set -e
PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
if [ "$1" = prepare ]; then
    initdb -D data -A trust --no-sync
    mkdir data/socket
    cat >>data/postgresql.conf <<C
listen_addresses = ''
unix_socket_directories = 'socket'
fsync = off
max_connections = 10
C
    exit
fi
exec 3>"$1"
sql() { psql -X -q -t -A -h "$PWD/data/socket" -d postgres -v ON_ERROR_STOP=1 "$@"; }
start() { pg_ctl -D data -w -l server.log start >/dev/null; }
start
sql <<S
DROP TABLE IF EXISTS numbers, totals;
CREATE TABLE numbers (client int, step int, value bigint, PRIMARY KEY (client, step));
CREATE TABLE totals (client int PRIMARY KEY, value bigint);
INSERT INTO totals SELECT n, 0 FROM generate_series(1, 3) n;
S
client() {
    step=0
    while [ $step -lt 60 ]; do
        step=$((step + 1))
        echo "BEGIN; INSERT INTO numbers VALUES ($1, $step, $1 * $step) ON CONFLICT DO NOTHING;"
        echo "UPDATE totals SET value = (SELECT sum(value) FROM numbers WHERE client = $1 AND step <= $step) WHERE client = $1;"
        echo "SELECT value FROM totals WHERE client = $1; COMMIT;"
        sleep 0.03
    done | sql >"client$1"
}
for number in 1 2 3; do client $number & done
wait
cat client1 client2 client3 >&3
pg_ctl -D data -m immediate -w stop >/dev/null
start
sql -c "SELECT client, count(*), sum(value), max(step) FROM numbers GROUP BY client ORDER BY client" >&3
sql -c "SELECT * FROM totals ORDER BY client" >&3
pg_ctl -D data -m fast -w stop >/dev/null
echo "stopped $?" >&3
