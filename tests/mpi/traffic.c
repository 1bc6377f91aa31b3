/* traffic LOG STEPS [MS]: an MPI program that checks itself, with all sorts of traffic, for 2 ranks and more.
 *
 * Every step goes through all sorts; everything that arrives is compared with what must arrive, and an error is told
 * and ends the run. Rank 0 writes a line per step, with a digest of what all ranks have received, to LOG and to stdout.
 * The lines depend on STEPS and the number of ranks only. MS: milliseconds that every rank sleeps in each step.
 */
#include <mpi.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_RANKS 64

static int rank, ranks;
static long step;
static uint64_t digest;

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* What rank `from` says to rank `to` in this step, under this number. */
static uint64_t key(int from, int to, long number)
{
    return mix(mix(mix((uint64_t)step * 1000003u + (uint64_t)number) + (uint64_t)from) + (uint64_t)to);
}

static void fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    printf("ERROR in rank %d, step %ld: ", rank, step);
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    MPI_Abort(MPI_COMM_WORLD, 3);
    abort();
}

static void fill(uint64_t *words, long count, uint64_t seed)
{
    for (long i = 0; i < count; i++)
        words[i] = mix(seed + (uint64_t)i);
}

/* Compares words that came with those that `fill` made, and takes them into the digest. */
static void expect(const uint64_t *words, long count, uint64_t seed, const char *what, int from, long number)
{
    for (long i = 0; i < count; i++)
        if (words[i] != mix(seed + (uint64_t)i))
            fail("%s %ld of rank %d: word %ld of %ld is %016" PRIx64 " and should be %016" PRIx64, what, number, from, i,
                 count, words[i], mix(seed + (uint64_t)i));
    digest = mix(digest ^ seed ^ (uint64_t)count);
}

static void equal(uint64_t got, uint64_t wanted, const char *what)
{
    if (got != wanted)
        fail("%s is %" PRIu64 " and should be %" PRIu64, what, got, wanted);
    digest = mix(digest ^ got);
}

static void *memory(size_t bytes)
{
    void *place = malloc(bytes ? bytes : 1);
    if (!place)
        fail("no memory");
    return place;
}

/* --- point to point: eager and rendezvous, expected and unexpected, from anybody */

#define MESSAGES 20

static long words_of(uint64_t seed)
{
    static const long sizes[] = {0, 1, 3, 8, 17, 64, 100, 400, 511, 513, 1000, 2048, 4097, 8192, 30000, 131072};
    uint64_t choice = mix(seed) % 64;
    /* Large ones are rare. */
    return sizes[choice < 61 ? choice % 14 : 14 + choice % 2];
}

static MPI_Comm storm_comm;

static void storm(void)
{
    int all = ranks * MESSAGES, pending = 0;
    MPI_Request *requests = memory(2 * (size_t)all * sizeof *requests);
    uint64_t **out = memory((size_t)all * sizeof *out), **in = memory((size_t)all * sizeof *in);
    for (int i = 0; i < all; i++) {
        long words = words_of(key(i / MESSAGES, rank, i % MESSAGES));
        in[i] = memory((size_t)words * 8);
        if (i % MESSAGES % 2 == 0)
            MPI_Irecv(in[i], (int)words, MPI_UINT64_T, i / MESSAGES, i % MESSAGES, storm_comm, &requests[pending++]);
    }
    for (int j = 0; j < all; j++) {
        /* Every rank begins with another one. */
        int to = (rank + j / MESSAGES) % ranks, number = j % MESSAGES;
        uint64_t seed = key(rank, to, number);
        long words = words_of(seed);
        out[j] = memory((size_t)words * 8);
        fill(out[j], words, seed);
        if (number % 5 == 0)
            MPI_Issend(out[j], (int)words, MPI_UINT64_T, to, number, storm_comm, &requests[pending++]);
        else
            MPI_Isend(out[j], (int)words, MPI_UINT64_T, to, number, storm_comm, &requests[pending++]);
    }
    for (int number = 1; number < MESSAGES; number += 2)
        for (int from = 0; from < ranks; from++) {
            int i = from * MESSAGES + number, words;
            MPI_Status status;
            MPI_Message message;
            if (number % 4 == 1) {
                long wanted = words_of(key(from, rank, number));
                MPI_Irecv(in[i], (int)wanted, MPI_UINT64_T, from, number, storm_comm, &requests[pending++]);
                continue;
            }
            MPI_Mprobe(MPI_ANY_SOURCE, number, storm_comm, &message, &status);
            i = status.MPI_SOURCE * MESSAGES + number;
            MPI_Get_count(&status, MPI_UINT64_T, &words);
            if (words != words_of(key(status.MPI_SOURCE, rank, number)))
                fail("message %d of rank %d has %d words", number, status.MPI_SOURCE, words);
            MPI_Mrecv(in[i], words, MPI_UINT64_T, &message, &status);
        }
    MPI_Waitall(pending, requests, MPI_STATUSES_IGNORE);
    for (int i = 0; i < all; i++) {
        uint64_t seed = key(i / MESSAGES, rank, i % MESSAGES);
        expect(in[i], words_of(seed), seed, "message", i / MESSAGES, i % MESSAGES);
        free(in[i]);
        free(out[i]);
    }
    free(in);
    free(out);
    free(requests);
}

/* Thousands are pending before anybody receives, and they are received in another order. */
#define FLOOD 2000

static void flood(void)
{
    static uint64_t out[FLOOD][3], in[FLOOD][3];
    static MPI_Request requests[2 * FLOOD];
    int right = (rank + 1) % ranks, left = (rank + ranks - 1) % ranks;
    for (int i = 0; i < FLOOD; i++) {
        fill(out[i], 3, key(rank, right, 1000 + i));
        MPI_Isend(out[i], 3, MPI_UINT64_T, right, i % 4, storm_comm, &requests[i]);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    int pending = FLOOD;
    for (int tag = 3; tag >= 0; tag--)
        for (int i = tag; i < FLOOD; i += 4)
            MPI_Irecv(in[i], 3, MPI_UINT64_T, left, tag, storm_comm, &requests[pending++]);
    MPI_Waitall(pending, requests, MPI_STATUSES_IGNORE);
    for (int i = 0; i < FLOOD; i++)
        expect(in[i], 3, key(left, rank, 1000 + i), "small message", left, i);
}

/* --- collectives, blocking and not, on this communicator */

static uint64_t sum_to(uint64_t count)
{
    return count * (count - 1) / 2;
}

static void collectives(MPI_Comm comm, int words)
{
    int me, all;
    MPI_Comm_rank(comm, &me);
    MPI_Comm_size(comm, &all);
    int root = (int)((uint64_t)step % (uint64_t)all);
    uint64_t *own = memory((size_t)words * 8), *every = memory((size_t)all * (size_t)words * 8);
    uint64_t *to_every = memory((size_t)all * (size_t)words * 8), *other = memory((size_t)all * (size_t)words * 8);

    fill(own, words, key(root, root, 2000));
    if (me != root)
        memset(own, 0, (size_t)words * 8);
    MPI_Bcast(own, words, MPI_UINT64_T, root, comm);
    expect(own, words, key(root, root, 2000), "broadcast", root, words);

    uint64_t mine[2] = {(uint64_t)me, (uint64_t)step}, sums[2] = {0, 0}, before = 0;
    MPI_Allreduce(mine, sums, 2, MPI_UINT64_T, MPI_SUM, comm);
    equal(sums[0], sum_to((uint64_t)all), "sum of ranks");
    equal(sums[1], (uint64_t)step * (uint64_t)all, "sum of steps");
    MPI_Exscan(mine, &before, 1, MPI_UINT64_T, MPI_SUM, comm);
    if (me > 0)
        equal(before, sum_to((uint64_t)me), "sum of the ranks before");
    MPI_Reduce(mine, &before, 1, MPI_UINT64_T, MPI_MAX, root, comm);
    if (me == root)
        equal(before, (uint64_t)all - 1, "largest rank");

    for (int to = 0; to < all; to++)
        fill(to_every + to * words, words, key(me, to, 2100));
    MPI_Alltoall(to_every, words, MPI_UINT64_T, every, words, MPI_UINT64_T, comm);
    for (int from = 0; from < all; from++)
        expect(every + from * words, words, key(from, me, 2100), "all to all", from, words);

    /* Rank i gives i % 3 times so many. */
    int counts[MAX_RANKS], places[MAX_RANKS];
    for (int i = 0, place = 0; i < all; place += counts[i++] * words) {
        counts[i] = i % 3;
        places[i] = place;
    }
    for (int i = 0; i < all; i++)
        counts[i] *= words;
    for (int i = 1; i < all; i++)
        places[i] = places[i - 1] + counts[i - 1];
    uint64_t *uneven = memory(3 * (size_t)words * 8), *gathered = memory(3 * (size_t)all * (size_t)words * 8);
    fill(uneven, counts[me], key(me, me, 2200));
    MPI_Allgatherv(uneven, counts[me], MPI_UINT64_T, gathered, counts, places, MPI_UINT64_T, comm);
    for (int from = 0; from < all; from++)
        expect(gathered + places[from], counts[from], key(from, from, 2200), "uneven gather", from, words);

    /* Many at once, looked at now and then. */
    MPI_Request requests[5];
    uint64_t sum = 0, one = (uint64_t)me + 1;
    fill(own, words, key(root, root, 2300));
    MPI_Ibcast(own, words, MPI_UINT64_T, root, comm, &requests[0]);
    MPI_Iallreduce(&one, &sum, 1, MPI_UINT64_T, MPI_SUM, comm, &requests[1]);
    MPI_Ialltoall(to_every, words, MPI_UINT64_T, other, words, MPI_UINT64_T, comm, &requests[2]);
    MPI_Iallgatherv(uneven, counts[me], MPI_UINT64_T, gathered, counts, places, MPI_UINT64_T, comm, &requests[3]);
    MPI_Ibarrier(comm, &requests[4]);
    for (int done = 0; !done;) {
        MPI_Testall(5, requests, &done, MPI_STATUSES_IGNORE);
        if (!done)
            usleep(50);
    }
    expect(own, words, key(root, root, 2300), "pending broadcast", root, words);
    equal(sum, sum_to((uint64_t)all + 1), "pending sum");
    for (int from = 0; from < all; from++) {
        expect(other + from * words, words, key(from, me, 2100), "pending all to all", from, words);
        expect(gathered + places[from], counts[from], key(from, from, 2200), "pending gather", from, words);
    }
    free(own);
    free(every);
    free(to_every);
    free(other);
    free(uneven);
    free(gathered);
}

/* --- one-sided */

#define SLOT 8

static MPI_Win fence_window, lock_window, shared_window;
static uint64_t *fence_words, *lock_words, *shared_words;
static MPI_Comm node_comm;

static void open_windows(void)
{
    MPI_Aint bytes = (MPI_Aint)ranks * SLOT * 8;
    MPI_Win_allocate(bytes, 8, MPI_INFO_NULL, MPI_COMM_WORLD, &fence_words, &fence_window);
    lock_words = calloc((size_t)ranks * SLOT, 8);
    MPI_Win_create(lock_words, bytes, 8, MPI_INFO_NULL, MPI_COMM_WORLD, &lock_window);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node_comm);
    MPI_Win_allocate_shared(4096, 8, MPI_INFO_NULL, node_comm, &shared_words, &shared_window);
}

static void fenced(void)
{
    uint64_t *out = memory((size_t)ranks * SLOT * 8), *in = memory((size_t)ranks * SLOT * 8);
    MPI_Win_fence(MPI_MODE_NOPRECEDE, fence_window);
    for (int to = 0; to < ranks; to++) {
        fill(out + to * SLOT, SLOT, key(rank, to, 3000));
        MPI_Put(out + to * SLOT, SLOT, MPI_UINT64_T, to, rank * SLOT, SLOT, MPI_UINT64_T, fence_window);
    }
    MPI_Win_fence(0, fence_window);
    for (int from = 0; from < ranks; from++)
        expect(fence_words + from * SLOT, SLOT, key(from, rank, 3000), "put", from, 0);
    for (int of = 0; of < ranks; of++) {
        int slot = (rank + of) % ranks;
        MPI_Get(in + of * SLOT, SLOT, MPI_UINT64_T, of, slot * SLOT, SLOT, MPI_UINT64_T, fence_window);
    }
    MPI_Win_fence(MPI_MODE_NOSUCCEED, fence_window);
    for (int of = 0; of < ranks; of++)
        expect(in + of * SLOT, SLOT, key((rank + of) % ranks, of, 3000), "get", of, 0);
    free(out);
    free(in);
}

static void locked(void)
{
    uint64_t one = 1, mine = (uint64_t)rank + 1, old = 0, nothing = 0, values[SLOT];
    MPI_Win_lock(MPI_LOCK_EXCLUSIVE, rank, 0, lock_window);
    memset(lock_words, 0, (size_t)ranks * SLOT * 8);
    MPI_Win_unlock(rank, lock_window);
    MPI_Barrier(MPI_COMM_WORLD);
    for (int i = 0; i < ranks; i++) {
        int to = (rank + i) % ranks;
        fill(values, SLOT, key(rank, to, 3100));
        MPI_Win_lock(i % 2 ? MPI_LOCK_EXCLUSIVE : MPI_LOCK_SHARED, to, 0, lock_window);
        MPI_Accumulate(&mine, 1, MPI_UINT64_T, to, 0, 1, MPI_UINT64_T, MPI_SUM, lock_window);
        if (rank > 0)
            MPI_Put(values, SLOT, MPI_UINT64_T, to, rank * SLOT, SLOT, MPI_UINT64_T, lock_window);
        MPI_Win_unlock(to, lock_window);
    }
    MPI_Win_lock_all(0, lock_window);
    MPI_Fetch_and_op(&one, &old, MPI_UINT64_T, 0, 1, MPI_SUM, lock_window);
    MPI_Win_flush(0, lock_window);
    if (old >= (uint64_t)ranks)
        fail("a counter is %" PRIu64, old);
    /* Only one finds it empty. */
    MPI_Compare_and_swap(&mine, &nothing, &old, MPI_UINT64_T, 0, 2, lock_window);
    MPI_Win_flush(0, lock_window);
    uint64_t won = old == 0, winners = 0, orders = 0;
    MPI_Win_unlock_all(lock_window);
    MPI_Allreduce(&won, &winners, 1, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
    equal(winners, 1, "number of winners of a compare and swap");
    for (int i = 0; i < ranks; i++) {
        int of = (rank + i) % ranks;
        MPI_Win_lock(MPI_LOCK_SHARED, of, 0, lock_window);
        MPI_Get(&orders, 1, MPI_UINT64_T, of, 0, 1, MPI_UINT64_T, lock_window);
        MPI_Get(values, SLOT, MPI_UINT64_T, of, (ranks - 1) * SLOT, SLOT, MPI_UINT64_T, lock_window);
        MPI_Win_unlock(of, lock_window);
        equal(orders, sum_to((uint64_t)ranks + 1), "accumulated sum");
        expect(values, SLOT, key(ranks - 1, of, 3100), "locked put", ranks - 1, of);
    }
    MPI_Barrier(MPI_COMM_WORLD);
}

/* Post, start, complete, wait, in a ring, in a window that exists for this only. */
static void posted(void)
{
    int right = (rank + 1) % ranks, left = (rank + ranks - 1) % ranks;
    uint64_t *words, out[300];
    MPI_Win window;
    MPI_Group all, before, after;
    MPI_Win_allocate(300 * 8, 8, MPI_INFO_NULL, MPI_COMM_WORLD, &words, &window);
    MPI_Comm_group(MPI_COMM_WORLD, &all);
    MPI_Group_incl(all, 1, &left, &before);
    MPI_Group_incl(all, 1, &right, &after);
    fill(out, 300, key(rank, right, 3200));
    MPI_Win_post(before, 0, window);
    MPI_Win_start(after, 0, window);
    MPI_Put(out, 300, MPI_UINT64_T, right, 0, 300, MPI_UINT64_T, window);
    MPI_Win_complete(window);
    MPI_Win_wait(window);
    expect(words, 300, key(left, rank, 3200), "posted put", left, 0);
    MPI_Win_free(&window);
    MPI_Group_free(&all);
    MPI_Group_free(&before);
    MPI_Group_free(&after);
}

/* Loads and stores in memory that the ranks of a node share. Which they are is not to be seen in the digest. */
static void shared(void)
{
    uint64_t before = digest;
    int me, all, unit;
    MPI_Aint bytes;
    uint64_t *theirs;
    MPI_Comm_rank(node_comm, &me);
    MPI_Comm_size(node_comm, &all);
    MPI_Win_lock_all(MPI_MODE_NOCHECK, shared_window);
    fill(shared_words, 512, key(me, me, 3300));
    MPI_Win_sync(shared_window);
    MPI_Barrier(node_comm);
    MPI_Win_sync(shared_window);
    for (int of = 0; of < all; of++) {
        MPI_Win_shared_query(shared_window, of, &bytes, &unit, &theirs);
        expect(theirs, 512, key(of, of, 3300), "shared memory", of, 0);
    }
    digest = before;
    MPI_Barrier(node_comm);
    MPI_Win_unlock_all(shared_window);
}

/* --- files */

#define BLOCK 256
#define BLOCKS 8

static MPI_File file;

static void files(void)
{
    uint64_t out[BLOCKS][BLOCK], in[BLOCK];
    MPI_Request requests[BLOCKS];
    MPI_Offset block = BLOCK * 8;
    int next = (rank + 1) % ranks;
    for (int j = 0; j < BLOCKS; j++) {
        fill(out[j], BLOCK, key(rank, j, 4000));
        MPI_File_iwrite_at(file, (j * ranks + rank) * block, out[j], BLOCK, MPI_UINT64_T, &requests[j]);
    }
    MPI_Waitall(BLOCKS, requests, MPI_STATUSES_IGNORE);
    MPI_File_sync(file);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_sync(file);
    for (int j = 0; j < BLOCKS; j++) {
        memset(in, 0, sizeof in);
        MPI_File_read_at_all(file, (j * ranks + next) * block, in, BLOCK, MPI_UINT64_T, MPI_STATUS_IGNORE);
        expect(in, BLOCK, key(next, j, 4000), "block of a file", next, j);
    }
    /* In the order of ranks, behind those. */
    MPI_File_seek_shared(file, BLOCKS * ranks * block, MPI_SEEK_SET);
    fill(in, BLOCK, key(rank, rank, 4100));
    MPI_File_write_ordered(file, in, BLOCK, MPI_UINT64_T, MPI_STATUS_IGNORE);
    MPI_File_sync(file);
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_File_sync(file);
    MPI_File_read_at_all(file, (BLOCKS * ranks + next) * block, in, BLOCK, MPI_UINT64_T, MPI_STATUS_IGNORE);
    expect(in, BLOCK, key(next, next, 4100), "ordered block of a file", next, 0);
    MPI_Barrier(MPI_COMM_WORLD);
}

/* --- communicators */

static MPI_Comm half, across;

static void connect_halves(void)
{
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, rank, &half);
    MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, 1 - rank % 2, 5, &across);
}

static void disconnect_halves(void)
{
    MPI_Comm_free(&across);
    MPI_Comm_free(&half);
}

static void intercommunicate(void)
{
    int others, me, merged_ranks, merged_rank;
    uint64_t out[40], in[MAX_RANKS * 40];
    MPI_Comm merged;
    MPI_Comm_remote_size(across, &others);
    MPI_Comm_rank(across, &me);
    fill(out, 40, key(rank, rank, 5000));
    MPI_Allgather(out, 40, MPI_UINT64_T, in, 40, MPI_UINT64_T, across);
    for (int i = 0; i < others; i++) {
        int from = 2 * i + 1 - rank % 2;
        expect(in + 40 * i, 40, key(from, from, 5000), "message from the other half", from, i);
    }
    int partner = me < others ? me : MPI_PROC_NULL;
    MPI_Sendrecv(out, 40, MPI_UINT64_T, partner, 1, in, 40, MPI_UINT64_T, partner, 1, across, MPI_STATUS_IGNORE);
    if (partner != MPI_PROC_NULL) {
        int from = 2 * me + 1 - rank % 2;
        expect(in, 40, key(from, from, 5000), "message from the partner", from, me);
    }
    MPI_Intercomm_merge(across, rank % 2, &merged);
    MPI_Comm_size(merged, &merged_ranks);
    MPI_Comm_rank(merged, &merged_rank);
    equal((uint64_t)merged_ranks, (uint64_t)ranks, "ranks of the merged communicator");
    equal((uint64_t)merged_rank, (uint64_t)(rank % 2 ? (ranks + 1) / 2 + rank / 2 : rank / 2), "merged rank");
    collectives(merged, 20);
    MPI_Comm_free(&merged);
}

/* --- halo exchange on a torus, with persistent requests and a strided type */

#define SIDE 48
#define CELL(i, j) grid[(i) * (SIDE + 2) + (j)]

static MPI_Comm torus;
static MPI_Request halo[8];
static uint64_t grid[(SIDE + 2) * (SIDE + 2)];

static void open_torus(void)
{
    int dims[2] = {0, 0}, periods[2] = {1, 1}, up, down, left, right;
    MPI_Datatype column;
    MPI_Dims_create(ranks, 2, dims);
    MPI_Cart_create(MPI_COMM_WORLD, 2, dims, periods, 0, &torus);
    MPI_Cart_shift(torus, 0, 1, &up, &down);
    MPI_Cart_shift(torus, 1, 1, &left, &right);
    MPI_Type_vector(SIDE, 1, SIDE + 2, MPI_UINT64_T, &column);
    MPI_Type_commit(&column);
    for (int i = 1; i <= SIDE; i++)
        for (int j = 1; j <= SIDE; j++)
            CELL(i, j) = mix((uint64_t)(rank * 100000 + i * 100 + j));
    MPI_Recv_init(&CELL(0, 1), SIDE, MPI_UINT64_T, up, 1, torus, &halo[0]);
    MPI_Recv_init(&CELL(SIDE + 1, 1), SIDE, MPI_UINT64_T, down, 2, torus, &halo[1]);
    MPI_Recv_init(&CELL(1, 0), 1, column, left, 3, torus, &halo[2]);
    MPI_Recv_init(&CELL(1, SIDE + 1), 1, column, right, 4, torus, &halo[3]);
    MPI_Send_init(&CELL(SIDE, 1), SIDE, MPI_UINT64_T, down, 1, torus, &halo[4]);
    MPI_Send_init(&CELL(1, 1), SIDE, MPI_UINT64_T, up, 2, torus, &halo[5]);
    MPI_Send_init(&CELL(1, SIDE), 1, column, right, 3, torus, &halo[6]);
    MPI_Send_init(&CELL(1, 1), 1, column, left, 4, torus, &halo[7]);
    MPI_Type_free(&column);
}

static void exchange_halo(void)
{
    static uint64_t next[(SIDE + 2) * (SIDE + 2)];
    for (int round = 0; round < 3; round++) {
        MPI_Startall(8, halo);
        MPI_Waitall(8, halo, MPI_STATUSES_IGNORE);
        for (int i = 1; i <= SIDE; i++)
            for (int j = 1; j <= SIDE; j++)
                next[i * (SIDE + 2) + j] =
                    5 * CELL(i, j) + CELL(i - 1, j) + 3 * CELL(i + 1, j) + 7 * CELL(i, j - 1) + 9 * CELL(i, j + 1);
        memcpy(grid, next, sizeof grid);
    }
    for (int i = 1; i <= SIDE; i++)
        digest = mix(digest ^ CELL(i, 1 + (i * 7) % SIDE));
    uint64_t out[4] = {(uint64_t)rank, (uint64_t)rank, (uint64_t)rank, (uint64_t)rank}, in[4];
    int up, down, left, right;
    MPI_Cart_shift(torus, 0, 1, &up, &down);
    MPI_Cart_shift(torus, 1, 1, &left, &right);
    MPI_Neighbor_alltoall(out, 1, MPI_UINT64_T, in, 1, MPI_UINT64_T, torus);
    equal(in[0], (uint64_t)up, "neighbour above");
    equal(in[1], (uint64_t)down, "neighbour below");
    equal(in[2], (uint64_t)left, "neighbour to the left");
    equal(in[3], (uint64_t)right, "neighbour to the right");
}

static void say(FILE *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(FILE *log, const char *format, ...)
{
    va_list arguments;
    for (int i = 0; i < 2; i++) {
        FILE *to = i ? log : stdout;
        va_start(arguments, format);
        vfprintf(to, format, arguments);
        va_end(arguments);
        fflush(to);
    }
}

static void one_step(void)
{
    storm();
    if (step % 3 == 0)
        flood();
    collectives(MPI_COMM_WORLD, step % 5 == 0 ? 6000 : 50);
    collectives(half, 300);
    fenced();
    locked();
    posted();
    shared();
    files();
    intercommunicate();
    if (step % 4 == 3) {
        disconnect_halves();
        connect_halves();
    }
    exchange_halo();
}

int main(int count, char **words)
{
    int provided;
    MPI_Init_thread(&count, &words, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (count < 3 || ranks < 2 || ranks > MAX_RANKS)
        fail("usage: traffic LOG STEPS [MS], with 2 ranks to %d", MAX_RANKS);
    long steps = atol(words[2]), ms = count > 3 ? atol(words[3]) : 0;
    FILE *log = NULL;
    if (rank == 0 && !(log = fopen(words[1], "w")))
        fail("cannot write %s", words[1]);
    char name[4096];
    snprintf(name, sizeof name, "%s.data", words[1]);
    MPI_Comm_dup(MPI_COMM_WORLD, &storm_comm);
    connect_halves();
    open_windows();
    open_torus();
    if (MPI_File_open(MPI_COMM_WORLD, name, MPI_MODE_CREATE | MPI_MODE_RDWR, MPI_INFO_NULL, &file) != MPI_SUCCESS)
        fail("cannot open %s", name);
    for (step = 0; step < steps; step++) {
        one_step();
        if (ms)
            usleep((useconds_t)ms * 1000);
        uint64_t all = 0;
        MPI_Reduce(&digest, &all, 1, MPI_UINT64_T, MPI_BXOR, 0, MPI_COMM_WORLD);
        if (rank == 0)
            say(log, "step %ld %016" PRIx64 "\n", step, all);
    }
    uint64_t all = 0;
    MPI_Reduce(&digest, &all, 1, MPI_UINT64_T, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        say(log, "FINAL steps %ld ranks %d %016" PRIx64 "\n", steps, ranks, all);
        fclose(log);
    }
    for (int i = 0; i < 8; i++)
        MPI_Request_free(&halo[i]);
    MPI_File_close(&file);
    MPI_Win_free(&fence_window);
    MPI_Win_free(&lock_window);
    MPI_Win_free(&shared_window);
    MPI_Comm_free(&node_comm);
    MPI_Comm_free(&torus);
    disconnect_halves();
    MPI_Comm_free(&storm_comm);
    MPI_Finalize();
    free(lock_words);
    return 0;
}
