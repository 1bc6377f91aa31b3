"""futures.py LOG: concurrent.futures with processes and threads, chained."""

import concurrent.futures
import hashlib
import sys
import time


def digest(text):
    for _ in range(3000):
        text = hashlib.sha256(text.encode()).hexdigest()
    time.sleep(0.02)
    return text


def main():
    log = open(sys.argv[1], "w")
    processes = concurrent.futures.ProcessPoolExecutor(3)
    threads = concurrent.futures.ThreadPoolExecutor(4)
    with processes, threads:
        for step in range(25):
            futures = [processes.submit(digest, f"{step} {number}") for number in range(6)]
            texts = [future.result() for future in concurrent.futures.as_completed(futures)]
            texts = list(threads.map(digest, sorted(texts)))
            print("step", step, *[text[:8] for text in texts], file=log, flush=True)
        print("processes", len(processes._processes), file=log, flush=True)


if __name__ == "__main__":
    main()
