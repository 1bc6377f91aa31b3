"""spawned.py LOG: multiprocessing with children that are not forked: pools, a manager, shared memory, locks, a barrier."""

import multiprocessing
import sys
import time
from multiprocessing import shared_memory


def work(number):
    value = number
    for _ in range(20000):
        value = (value * 1103515245 + 12345) % 2147483648
    time.sleep(0.01)
    return value


def count(name, number, lock, barrier, table):
    block = shared_memory.SharedMemory(name)
    for _ in range(30):
        with lock:
            block.buf[0] = (block.buf[0] + 1) % 256
        time.sleep(0.005)
    barrier.wait()
    table[number] = block.buf[0]
    block.close()


def main():
    log = open(sys.argv[1], "w")
    for method in ("spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        with context.Pool(3) as pool:
            for step in range(12):
                print(method, step, sum(pool.map(work, range(step, step + 6))), file=log, flush=True)
        block = shared_memory.SharedMemory(create=True, size=4096)
        with context.Manager() as manager:
            table, lock, barrier = manager.dict(), context.Lock(), context.Barrier(3)
            children = [
                context.Process(target=count, args=(block.name, number, lock, barrier, table)) for number in range(3)
            ]
            for child in children:
                child.start()
            for child in children:
                child.join()
            print(method, sorted(table.items()), [child.exitcode for child in children], file=log, flush=True)
        block.close()
        block.unlink()


if __name__ == "__main__":
    main()
