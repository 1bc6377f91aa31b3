/* Private and shared anonymous memory, with holes, zero pages and every protection, comes back as it was. */
#include "check.h"

enum { PAGE = 4096, PAGES = 4096 };

static char *holes(void)
{
	char *memory = check_map(PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	for (int page = 0; page < PAGES; page++)
		if (page % 3 == 0)
			check_fill(memory + page * PAGE, PAGE, (uint64_t)page);
		else if (page % 3 == 1)
			memset(memory + page * PAGE, 0, PAGE);
	return memory;
}

static void check_holes(char *memory)
{
	unsigned char vector[1];
	for (int page = 0; page < PAGES; page++) {
		if (page >= 100 && page < 107) {
			EQUAL(mincore(memory + page * PAGE, PAGE, vector), -1);
			EQUAL(errno, ENOMEM);
		} else if (page % 3 == 0) {
			check_filled(memory + page * PAGE, PAGE, (uint64_t)page);
		} else {
			check_zero(memory + page * PAGE, PAGE);
		}
	}
}

static const int protections[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC,
				   PROT_READ | PROT_WRITE | PROT_EXEC, PROT_WRITE, PROT_EXEC };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *private = holes(), *kinds[LENGTH(protections)];
	char *shared = check_map(64 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *shared_read_only = check_map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *fixed = mmap((void *)0x10000000, PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	CHECK(fixed == (void *)0x10000000, "mmap at a fixed address");
	check_fill(fixed, PAGE, 9);
	check_fill(shared, 32 * PAGE, 4);
	check_fill(shared_read_only, PAGE, 5);
	OK(mprotect(shared_read_only, 4 * PAGE, PROT_READ));
	for (size_t i = 0; i < LENGTH(protections); i++) {
		kinds[i] = check_map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		check_fill(kinds[i], PAGE, i);
		OK(mprotect(kinds[i], 2 * PAGE, protections[i]));
	}
	char before[LENGTH(protections)][256], now[256], flags[256];
	for (size_t i = 0; i < LENGTH(protections); i++)
		check_mapping(kinds[i], before[i], flags, sizeof flags);
	/* Only now: a later mapping might be put into the hole. */
	OK(munmap(private + 100 * PAGE, 7 * PAGE));
	check_wait();
	DAMAGE(private[3 * PAGE] ^= 1);
	check_holes(private);
	check_filled(fixed, PAGE, 9);
	check_filled(shared, 32 * PAGE, 4);
	check_zero(shared + 32 * PAGE, 32 * PAGE);
	check_filled(shared_read_only, PAGE, 5);
	check_mapping(shared, now, flags, sizeof flags);
	CHECK(strncmp(now, "rw-s", 4) == 0, "shared memory is %s", now);
	for (size_t i = 0; i < LENGTH(protections); i++) {
		check_mapping(kinds[i], now, flags, sizeof flags);
		CHECK(strncmp(now, before[i], 4) == 0, "mapping %zu is %.4s and was %.4s", i, now, before[i]);
		OK(mprotect(kinds[i], 2 * PAGE, PROT_READ));
		check_filled(kinds[i], PAGE, i);
		check_zero(kinds[i] + PAGE, PAGE);
	}
	PASS();
}
