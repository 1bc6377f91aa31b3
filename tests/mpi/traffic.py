"""traffic.py LOG [STEPS]: messages of mpi4py, objects and buffers, which check themselves; the last line of LOG says FINAL."""

import array
import hashlib
import sys
import time

from mpi4py import MPI


def words(count, *seed):
    """Bytes that sender and receiver both know."""
    text = repr(seed).encode()
    return array.array("B", (hashlib.sha256(text).digest() * (count // 32 + 1))[:count])


def objects(comm, rank, ranks, step):
    right, left = (rank + 1) % ranks, (rank - 1) % ranks
    request = comm.isend({"step": step, "from": rank, "list": list(range(step % 50))}, dest=right, tag=1)
    got = comm.recv(source=left, tag=1)
    request.wait()
    assert got == {"step": step, "from": left, "list": list(range(step % 50))}, got
    everything = comm.allgather((rank, step))
    assert everything == [(i, step) for i in range(ranks)], everything
    return comm.bcast(f"step {step}" if rank == step % ranks else None, root=step % ranks)


def buffers(comm, rank, ranks, step):
    requests, arrived = [], []
    for number, size in enumerate([1, 100, 5000, 70000, 600000]):
        for other in range(ranks):
            arrived.append((other, number, array.array("B", bytes(size))))
            requests.append(comm.Irecv(arrived[-1][2], source=other, tag=10 + number))
            requests.append(comm.Isend(words(size, step, number, rank, other), dest=other, tag=10 + number))
    MPI.Request.Waitall(requests)
    for other, number, data in arrived:
        assert data == words(len(data), step, number, other, rank), f"message {number} of rank {other}"


def window(comm, win, memory, rank, ranks, step):
    win.Fence()
    for other in range(ranks):
        win.Put(words(64, step, rank, other), other, rank * 64)
    win.Fence()
    for other in range(ranks):
        assert bytes(memory[other * 64 : other * 64 + 64]) == words(64, step, other, rank).tobytes(), f"put of {other}"


def main():
    comm = MPI.COMM_WORLD
    rank, ranks = comm.Get_rank(), comm.Get_size()
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 40
    log = open(sys.argv[1], "w") if rank == 0 else None
    win = MPI.Win.Allocate(64 * ranks, 1, comm=comm)
    memory = win.tomemory()
    half = comm.Split(rank % 2, rank)
    digest = 0
    for step in range(steps):
        said = objects(comm, rank, ranks, step)
        buffers(comm, rank, ranks, step)
        window(comm, win, memory, rank, ranks, step)
        digest = (digest * 31 + comm.allreduce(rank * step) + half.allreduce(rank)) % 1000003
        time.sleep(0.05)
        if log:
            print(said, digest, file=log, flush=True)
    if log:
        print("FINAL", steps, ranks, digest, file=log, flush=True)
    memory.release()
    win.Free()


# An exception in one rank would leave the others waiting.
try:
    main()
except BaseException as error:
    print(f"ERROR in rank {MPI.COMM_WORLD.Get_rank()}: {error!r}", flush=True)
    MPI.COMM_WORLD.Abort(3)
