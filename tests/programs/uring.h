/* io_uring without liburing. Head and tail are also kept here, as liburing does. */
#ifndef URING_H
#define URING_H
#include "check.h"
#include <linux/io_uring.h>

/* Linux 6.6; not every system's headers have it. */
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

struct ring {
	int fd;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *entries;
	unsigned sq_tail, cq_head;
};

static UNUSED int ring_make(struct ring *ring, unsigned entries, unsigned flags)
{
	memset(ring, 0, sizeof *ring);
	ring->params.flags = flags;
	ring->fd = (int)syscall(SYS_io_uring_setup, entries, &ring->params);
	if (ring->fd < 0)
		return -1;
	struct io_uring_params *p = &ring->params;
	size_t len = p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe) + p->sq_entries * sizeof(unsigned);
	ring->rings = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, IORING_OFF_SQ_RING);
	CHECK(ring->rings != MAP_FAILED, "mmap of the rings");
	ring->entries = mmap(NULL, p->sq_entries * sizeof *ring->entries, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
			     ring->fd, IORING_OFF_SQES);
	CHECK(ring->entries != MAP_FAILED, "mmap of the entries");
	return 0;
}

static UNUSED unsigned *ring_word(struct ring *ring, unsigned offset)
{
	return (unsigned *)(ring->rings + offset);
}

/* The next entry, zeroed. */
static UNUSED struct io_uring_sqe *ring_entry(struct ring *ring, int operation, uint64_t data)
{
	unsigned index = ring->sq_tail++ & (ring->params.sq_entries - 1);
	if (!(ring->params.flags & IORING_SETUP_NO_SQARRAY))
		ring_word(ring, ring->params.sq_off.array)[index] = index;
	struct io_uring_sqe *entry = &ring->entries[index];
	memset(entry, 0, sizeof *entry);
	entry->opcode = (uint8_t)operation;
	entry->user_data = data;
	return entry;
}

/* Tells the kernel of all entries, and waits for so many completions. */
static UNUSED void ring_submit(struct ring *ring, unsigned wait)
{
	unsigned *tail = ring_word(ring, ring->params.sq_off.tail);
	unsigned before = *tail, flags = wait ? IORING_ENTER_GETEVENTS : 0;
	__atomic_store_n(tail, ring->sq_tail, __ATOMIC_RELEASE);
	if (ring->params.flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	EQUAL(syscall(SYS_io_uring_enter, ring->fd, ring->sq_tail - before, wait, flags, NULL, 0), ring->sq_tail - before);
}

struct completion {
	uint64_t user_data;
	int res;
};

/* Takes the next completion, or waits for it. */
static UNUSED struct completion ring_take(struct ring *ring)
{
	unsigned *head = ring_word(ring, ring->params.cq_off.head), *tail = ring_word(ring, ring->params.cq_off.tail);
	EQUAL(*head, ring->cq_head);
	while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) == ring->cq_head)
		syscall(SYS_io_uring_enter, ring->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
	struct io_uring_cqe *all = (struct io_uring_cqe *)(ring->rings + ring->params.cq_off.cqes);
	struct io_uring_cqe *next = &all[ring->cq_head & (ring->params.cq_entries - 1)];
	struct completion found = { next->user_data, next->res };
	__atomic_store_n(head, ++ring->cq_head, __ATOMIC_RELEASE);
	return found;
}

static UNUSED void ring_expect(struct ring *ring, uint64_t data, int result)
{
	struct completion completion = ring_take(ring);
	EQUAL(completion.user_data, data);
	EQUAL(completion.res, result);
}

static UNUSED unsigned ring_waiting(struct ring *ring)
{
	return __atomic_load_n(ring_word(ring, ring->params.cq_off.tail), __ATOMIC_ACQUIRE) - ring->cq_head;
}
#endif
