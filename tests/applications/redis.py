"""redis.py LOG: a Redis server with an append-only file, and clients on TCP and on a Unix socket; then its files alone."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time

STEPS = 120


class Client:
    """As much of the protocol as is needed."""

    def __init__(self, family, address):
        self.socket = socket.socket(family)
        self.socket.connect(address)
        self.file = self.socket.makefile("rb")

    def ask(self, *words):
        words = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return self.answer()

    def answer(self):
        line = self.file.readline()
        kind, text = line[:1], line[1:-2].decode()
        if kind == b"-":
            raise RuntimeError(text)
        if kind == b"$" and text != "-1":
            return self.file.read(int(text) + 2)[:-2].decode()
        if kind == b"*":
            return [self.answer() for _ in range(int(text))]
        return text


def start():
    options = "--port 28201 --bind 127.0.0.1 --unixsocket server.sock --appendonly yes --dir data --save".split()
    server = subprocess.Popen(["redis-server", *options, ""], stdout=open("server.log", "w"))
    while True:
        try:
            client = Client(socket.AF_UNIX, "data/server.sock")
            client.ask("GET", "sum")
            return server, client
        except (OSError, RuntimeError):  # not there yet, or still reading its files
            time.sleep(0.02)


def main():
    shutil.rmtree("data", ignore_errors=True)
    os.mkdir("data")
    log = open(sys.argv[1], "w")
    server, local = start()
    remote = Client(socket.AF_INET, ("127.0.0.1", 28201))
    for step in range(STEPS):
        digest = hashlib.sha256(str(step).encode()).hexdigest()
        local.ask("SET", f"step:{step}", digest)
        remote.ask("RPUSH", "list", digest[:8])
        counted = remote.ask("INCRBY", "sum", step)
        local.ask("ZADD", "sorted", step * 7 % 100, digest[:6])
        print("step", step, counted, remote.ask("GET", f"step:{step}") == digest, file=log, flush=True)
        time.sleep(0.01)
    everything = local.ask("DBSIZE")
    lists = local.ask("LRANGE", "list", 0, -1), local.ask("ZRANGE", "sorted", 0, -1, "WITHSCORES")
    # Every write that was acknowledged is in the files that the server leaves.
    local.ask("CONFIG", "SET", "appendfsync", "always")
    server.kill()
    server.wait()
    server, local = start()
    again = local.ask("LRANGE", "list", 0, -1), local.ask("ZRANGE", "sorted", 0, -1, "WITHSCORES")
    print(everything, local.ask("DBSIZE"), lists == again, local.ask("GET", "sum"), file=log)
    print(hashlib.sha256(repr(again).encode()).hexdigest(), file=log)
    server.terminate()
    print("status", server.wait(), file=log)


main()
