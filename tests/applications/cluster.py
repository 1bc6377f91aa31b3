"""cluster.py LOG: Dask: a scheduler, workers in processes of their own, and a client."""

import sys
import time

from dask.distributed import Client, LocalCluster


def work(number):
    time.sleep(0.01)
    return sum(n * n % 7 for n in range(number * 100))


def main():
    log = open(sys.argv[1], "w")
    cluster = LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None)
    with cluster, Client(cluster) as client:
        for step in range(25):
            numbers = client.map(work, range(step, step + 8))
            print("step", step, client.submit(sum, numbers).result(), file=log, flush=True)
        print("workers", len(client.scheduler_info()["workers"]), file=log, flush=True)


if __name__ == "__main__":
    main()
