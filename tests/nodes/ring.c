// ring STEPS: ranks send each other checksummed messages of every size around a ring, with collectives in between.
// Prints "FINAL N ranks STEPS steps PASS", whenever and wherever it was interrupted.
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LARGEST = 1 << 20, IN_FLIGHT = 16 };

static uint64_t next(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void fill(unsigned char *bytes, size_t length, uint64_t seed) {
    for (size_t at = 0; at < length; at++) bytes[at] = (unsigned char)(next(&seed) >> 7);
}

static void fail(int rank, long step, const char *what) {
    printf("FAIL rank %d step %ld: %s\n", rank, step, what);
    fflush(stdout);
    MPI_Abort(MPI_COMM_WORLD, 3);
}

int main(int argc, char **argv) {
    MPI_Init(&argc, &argv);
    int rank, ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    long steps = argc > 1 ? atol(argv[1]) : 100;
    int left = (rank + ranks - 1) % ranks, right = (rank + 1) % ranks;
    unsigned char *out[IN_FLIGHT], *in[IN_FLIGHT];
    unsigned char *expected = malloc(LARGEST);
    for (int i = 0; i < IN_FLIGHT; i++) out[i] = malloc(LARGEST), in[i] = malloc(LARGEST);
    for (long step = 0; step < steps; step++) {
        MPI_Request requests[2 * IN_FLIGHT];
        size_t lengths[IN_FLIGHT];
        uint64_t size_seed = (uint64_t)step;
        for (int i = 0; i < IN_FLIGHT; i++) {
            lengths[i] = 1 + next(&size_seed) % (i ? 2000 << (i / 4) : LARGEST - 1);
            MPI_Irecv(in[i], (int)lengths[i], MPI_BYTE, left, i, MPI_COMM_WORLD, &requests[2 * i]);
            fill(out[i], lengths[i], (uint64_t)(step * 1000 + rank * 50 + i));
        }
        for (int i = 0; i < IN_FLIGHT; i++)
            MPI_Isend(out[i], (int)lengths[i], MPI_BYTE, right, i, MPI_COMM_WORLD, &requests[2 * i + 1]);
        MPI_Waitall(2 * IN_FLIGHT, requests, MPI_STATUSES_IGNORE);
        for (int i = 0; i < IN_FLIGHT; i++) {
            fill(expected, lengths[i], (uint64_t)(step * 1000 + left * 50 + i));
            for (size_t at = 0; at < lengths[i]; at++)
                if (in[i][at] != expected[at]) fail(rank, step, "other bytes than were sent");
        }
        long sum = 0, mine = step * ranks + rank;
        MPI_Allreduce(&mine, &sum, 1, MPI_LONG, MPI_SUM, MPI_COMM_WORLD);
        if (sum != ranks * step * ranks + ranks * (ranks - 1) / 2) fail(rank, step, "a wrong sum");
        usleep(20000);
        if (rank == 0 && step % 20 == 19) {
            printf("step %ld\n", step + 1);
            fflush(stdout);
        }
    }
    if (rank == 0) printf("FINAL %d ranks %ld steps PASS\n", ranks, steps);
    fflush(stdout);
    MPI_Finalize();
    return 0;
}
