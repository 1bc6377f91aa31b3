#!/usr/bin/env python3
"""Multiplies two random matrices again and again and prints a line per iteration.

Without options: 8000 x 8000 float64, for ever. The environment variables MATMUL_SIZE, MATMUL_ITERATIONS and
MATMUL_SEED give other values, and options of the command line win over them. With a seed the printed checksums are
the same in every run with the same number of threads; --log writes the lines to a file as well.
"""

import argparse
import os
import time
import zlib

import numpy


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    environment = os.environ.get
    parser.add_argument("--size", type=int, default=int(environment("MATMUL_SIZE", "8000")))
    parser.add_argument("--iterations", type=int, default=int(environment("MATMUL_ITERATIONS", "0")), help="0: no end")
    seed = environment("MATMUL_SEED")
    parser.add_argument("--seed", type=int, default=None if seed is None else int(seed))
    parser.add_argument("--log")
    return parser.parse_args()


def main():
    given = options()
    random = numpy.random.default_rng(given.seed)
    a = random.random((given.size, given.size))
    b = random.random((given.size, given.size))
    log = open(given.log, "w") if given.log else None

    def say(line, seconds=None):
        print(line if seconds is None else f"{line}  {seconds:.2f} s", flush=True)
        if log:
            log.write(line + "\n")
            log.flush()

    iteration = 0
    while given.iterations == 0 or iteration < given.iterations:
        begin = time.monotonic()
        product = numpy.matmul(a, b)
        # Every iteration depends on the one before, and on new random numbers.
        a = product / product.max() + random.random((given.size, 1)) * 1e-3
        took = None if given.seed is not None else time.monotonic() - begin
        say(f"iteration {iteration} {zlib.crc32(a.data):08x}", took)
        iteration += 1
    say(f"final {zlib.crc32(a.data):08x}")
    if log:
        log.close()


if __name__ == "__main__":
    main()
