"""jobs.py LOG: joblib with its processes (loky) and threads."""

import sys
import time

import joblib
import numpy


def part(matrix, step, number):
    time.sleep(0.01)
    return int((matrix[number::7] * (step + number)).sum())


def main():
    log = open(sys.argv[1], "w")
    matrix = numpy.arange(400000, dtype="int64").reshape(1000, 400)
    for backend in ("loky", "threading"):
        with joblib.Parallel(n_jobs=3, backend=backend, max_nbytes=None) as parallel:
            for step in range(10):
                parts = parallel(joblib.delayed(part)(matrix, step, number) for number in range(7))
                print(backend, step, parts, file=log, flush=True)


if __name__ == "__main__":
    main()
