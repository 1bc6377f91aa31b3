/* A 64 GiB reservation with a few pages in it is saved and restored quickly, and stays sparse. */
#include "check.h"

#define SIZE (64ul << 30)
#define STEP (5ul << 30)

static long resident_kib(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	CHECK(file, "open status");
	char line[256];
	long kib = -1;
	while (fgets(line, sizeof line, file))
		sscanf(line, "VmRSS: %ld", &kib);
	fclose(file);
	return kib;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(memory != MAP_FAILED, "mmap of 64 GiB");
	for (size_t at = 0; at < SIZE; at += STEP)
		check_fill(memory + at, 4096, at);
	check_fill(memory + SIZE - 4096, 4096, 1);
	/* Read, never written: pages of zeros. */
	check_zero(memory + 12345 * 4096ul, 4096 * 100);
	char head[256], flags[256];
	check_wait();
	DAMAGE(memory[STEP] ^= 1);
	for (size_t at = 0; at < SIZE; at += STEP)
		check_filled(memory + at, 4096, at);
	check_filled(memory + SIZE - 4096, 4096, 1);
	check_zero(memory + 12345 * 4096ul, 4096 * 100);
	CHECK(resident_kib() < 256 * 1024, "%ld KiB are resident", resident_kib());
	check_mapping(memory, head, flags, sizeof flags);
	CHECK(strstr(flags, " nr"), "the flags are %s", flags);
	PASS();
}
