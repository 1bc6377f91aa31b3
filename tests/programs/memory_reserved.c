/* Reservations of terabytes, as Go, Java and sanitizers make them, with a few pages in use here and there. */
#include "check.h"

#define TIB (1ull << 40)

enum { PAGE = 4096, USED = 50 };

static char *reserve(size_t bytes, int protection)
{
	return check_map(bytes, protection, MAP_PRIVATE | MAP_NORESERVE);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	const size_t bytes = 8 * TIB;
	char *forbidden = reserve(bytes, PROT_NONE), *shadow = reserve(bytes, PROT_READ | PROT_WRITE);
	char *read_only = reserve(bytes, PROT_READ), *shared;
	shared = mmap(NULL, TIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(shared != MAP_FAILED, "mmap of shared memory");
	OK(madvise(shadow, bytes, MADV_DONTDUMP));
	OK(madvise(shadow, bytes, MADV_NOHUGEPAGE));
	for (size_t i = 0; i < USED; i++) {
		size_t at = bytes / USED * i & ~(size_t)(PAGE - 1);
		OK(mprotect(forbidden + at, PAGE, PROT_READ | PROT_WRITE));
		check_fill(forbidden + at, PAGE, i);
		check_fill(shadow + at, PAGE, i + 100);
		check_fill(shared + at / 8, PAGE, i + 200);
		/* Reading maps the page of zeros. */
		EQUAL(((volatile char *)read_only)[at], 0);
	}
	check_wait();
	DAMAGE(shadow[bytes / USED * 7 & ~(size_t)(PAGE - 1)] ^= 1);
	for (size_t i = 0; i < USED; i++) {
		size_t at = bytes / USED * i & ~(size_t)(PAGE - 1);
		check_filled(forbidden + at, PAGE, i);
		check_filled(shadow + at, PAGE, i + 100);
		check_filled(shared + at / 8, PAGE, i + 200);
		check_zero(read_only + at, PAGE);
		check_zero(shadow + at + PAGE, PAGE);
		OK(mprotect(forbidden + at, PAGE, PROT_NONE));
	}
	char head[256], flags[1024];
	check_mapping(shadow, head, flags, sizeof head);
	CHECK(strncmp(head, "rw-p", 4) == 0 && strstr(flags, " nr") && strstr(flags, " dd"), "now %s, %s", head, flags);
	PASS();
}
