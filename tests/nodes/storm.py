"""Two processes on two nodes send each other checksummed bytes, so that some are always in flight.

storm.py ROUNDS HOST      starts its other half on HOST through rethaw rsh
"""

import os
import random
import socket
import subprocess
import sys
import threading
import time
import zlib

LARGEST = 400_000


def pieces(seed, rounds):
    """What one side sends: the same for whoever knows the seed."""
    source = random.Random(seed)
    for _ in range(rounds):
        yield source.randbytes(source.randint(1, LARGEST))


def send(connection, seed, rounds):
    for piece in pieces(seed, rounds):
        connection.sendall(piece)
        time.sleep(0.03)


def receive(connection, length):
    """In small reads, now and then with a pause, in which the queues fill."""
    received = bytearray()
    while len(received) < length:
        piece = connection.recv(min(65536, length - len(received)))
        if not piece:
            sys.exit("FAIL: the other end has closed the connection")
        received += piece
    return bytes(received)


def storm(connection, mine, theirs, rounds, name):
    sender = threading.Thread(target=send, args=(connection, mine, rounds))
    sender.start()
    checksum = 0
    for number, expected in enumerate(pieces(theirs, rounds)):
        got = receive(connection, len(expected))
        if got != expected:
            sys.exit(f"FAIL: round {number} of {name}: other bytes than were sent")
        checksum = zlib.crc32(got, checksum)
        time.sleep(0.02 if number % 7 else 0.06)
        if number % 20 == 19:
            print(f"{name} round {number + 1} {checksum:08x}", flush=True)
    sender.join()
    print(f"FINAL {name} {checksum:08x}", flush=True)


def main():
    rounds = int(sys.argv[1])
    if sys.argv[2] == "--peer":
        address = sys.argv[3].rsplit(":", 1)
        with socket.create_connection((address[0], int(address[1]))) as connection:
            storm(connection, 2, 1, rounds, "there")
        return
    listener = socket.create_server(("0.0.0.0", 0))
    own = f"{socket.gethostbyname(socket.gethostname())}:{listener.getsockname()[1]}"
    shell = os.environ["OMPI_MCA_plm_rsh_agent"]
    words = [shell, sys.argv[2], sys.executable, os.path.abspath(__file__), str(rounds), "--peer", own]
    other = subprocess.Popen(words)
    connection = listener.accept()[0]
    storm(connection, 1, 2, rounds, "here")
    connection.close()
    sys.exit(other.wait())


main()
