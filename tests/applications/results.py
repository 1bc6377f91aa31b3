"""results.py LOG: HDF5: results that are added to a file, and values in it that are overwritten."""

import hashlib
import sys
import time

import h5py
import numpy


def main():
    log = open(sys.argv[1], "w")
    with h5py.File("results.h5", "w") as file:
        series = file.create_dataset("series", (0, 64), maxshape=(None, 64), chunks=(16, 64), compression="gzip")
        last = file.create_dataset("last", (64,))
        state = numpy.ones(64)
        for step in range(150):
            state = numpy.sin(state * 1.7 + numpy.arange(64))
            series.resize(step + 1, axis=0)
            series[step] = state
            last[:] = state
            file.attrs["step"] = step
            file.create_group(f"step{step}").attrs["sum"] = state.sum()
            if step % 10 == 9:
                file.flush()
            time.sleep(0.015)
    with h5py.File("results.h5", "r") as file:
        print("steps", file.attrs["step"], len(file), file["series"].shape, file=log)
        print(hashlib.sha256(file["series"][:].tobytes() + file["last"][:].tobytes()).hexdigest(), file=log)
        print(sum(file[f"step{step}"].attrs["sum"] for step in range(150)), file=log)


main()
