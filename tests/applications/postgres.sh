# postgres.sh LOG: a PostgreSQL server, clients that write at the same time, and what its files hold in the end.
set -e
log=$1
PATH=$PATH:$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)
rm -rf data
initdb -D data -A trust --no-sync >initdb.out
mkdir data/socket
cat >>data/postgresql.conf <<C
listen_addresses = ''
unix_socket_directories = 'socket'
fsync = off
max_connections = 10
C
sql() { psql -X -q -t -A -h "$PWD/data/socket" -d postgres -v ON_ERROR_STOP=1 "$@"; }
start() { pg_ctl -D data -w -l server.log start >>ctl.out; }
start
sql <<S
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
cat client1 client2 client3 >"$log"
pg_ctl -D data -m immediate -w stop >>ctl.out
start
sql -c "SELECT client, count(*), sum(value), max(step) FROM numbers GROUP BY client ORDER BY client" >>"$log"
sql -c "SELECT * FROM totals ORDER BY client" >>"$log"
pg_ctl -D data -m fast -w stop >>ctl.out
echo "stopped $?" >>"$log"
