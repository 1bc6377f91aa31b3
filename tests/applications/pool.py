"""pool.py LOG: a multiprocessing.Pool, and managers and queues between processes."""

import multiprocessing
import sys
import time


def work(number):
    value = number
    for _ in range(20000):
        value = (value * 1103515245 + 12345) % 2147483648
    time.sleep(0.02)
    return number, value


def consumer(queue, result, lock, total):
    for item in iter(queue.get, None):
        with lock:
            total.value += item
    result.put("done")


def main():
    log = open(sys.argv[1], "w")

    def say(*words):
        print(*words, file=log, flush=True)

    with multiprocessing.Pool(4) as pool:
        for number, value in pool.imap(work, range(150), chunksize=2):
            say("task", number, value)
        say("map", sum(value for _, value in pool.map(work, range(40))))
    queue, result = multiprocessing.Queue(10), multiprocessing.SimpleQueue()
    total, lock = multiprocessing.Value("q", 0), multiprocessing.Lock()
    children = [multiprocessing.Process(target=consumer, args=(queue, result, lock, total)) for _ in range(3)]
    for child in children:
        child.start()
    for item in range(200):
        queue.put(item)
        time.sleep(0.003)
    for child in children:
        queue.put(None)
    for child in children:
        child.join()
        say(result.get(), child.exitcode)
    say("total", total.value)


if __name__ == "__main__":
    main()
