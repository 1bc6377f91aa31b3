"""database.py LOG: SQLite with a write-ahead log: a process that writes and one that reads what is committed."""

import hashlib
import os
import sqlite3
import sys
import time

STEPS = 120


def connect():
    base = sqlite3.connect("base.db", timeout=30, isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    return base


def write(base):
    # A row that is there already, because the files were not those of the checkpoint, is an error.
    for step in range(STEPS):
        base.execute("BEGIN IMMEDIATE")
        for row in range(20):
            digest = hashlib.sha256(f"{step} {row}".encode()).hexdigest()
            base.execute("INSERT INTO numbers VALUES (?, ?)", (step * 20 + row, digest))
        base.execute("UPDATE total SET steps = ?", (step + 1,))
        time.sleep(0.01)
        base.execute("COMMIT")
        time.sleep(0.005)


def read(ready):
    os.read(ready, 1)
    base = connect()
    while True:
        base.execute("BEGIN")
        (steps,) = base.execute("SELECT steps FROM total").fetchone()
        (rows,) = base.execute("SELECT count(*) FROM numbers WHERE number < ?", (steps * 20,)).fetchone()
        base.execute("COMMIT")
        if rows != steps * 20:
            os._exit(1)
        if steps == STEPS:
            os._exit(0)
        time.sleep(0.02)


def main():
    for name in ("base.db", "base.db-wal", "base.db-shm"):
        if os.path.exists(name):
            os.remove(name)
    # From now on the files are open, so that they are in every image.
    ready, made = os.pipe()
    reader = os.fork()
    if reader == 0:
        read(ready)
    base = connect()
    base.execute("DROP TABLE IF EXISTS numbers")
    base.execute("DROP TABLE IF EXISTS total")
    base.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY, digest TEXT)")
    base.execute("CREATE TABLE total (steps INTEGER)")
    base.execute("INSERT INTO total VALUES (0)")
    os.write(made, b"x")
    write(base)
    status = os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1])
    everything = hashlib.sha256(repr(base.execute("SELECT * FROM numbers ORDER BY number").fetchall()).encode())
    with open(sys.argv[1], "w") as log:
        print("reader", status, file=log)
        print(base.execute("PRAGMA integrity_check").fetchall(), everything.hexdigest(), file=log)


main()
