/* The vdso and its data pages where the program has moved them, and in a child without any. */
#include "check.h"
#include <sys/wait.h>

struct part {
	unsigned long start, bytes;
	char name[32];
};

/* The mappings whose names begin with [v, but for [vsyscall]. */
static size_t find_parts(struct part *parts, size_t most)
{
	FILE *file = fopen("/proc/self/maps", "re");
	CHECK(file, "open maps");
	char line[512];
	size_t found = 0;
	while (fgets(line, sizeof line, file)) {
		unsigned long start, end;
		char name[128] = "";
		sscanf(line, "%lx-%lx %*s %*s %*s %*s %127s", &start, &end, name);
		if (strncmp(name, "[v", 2) == 0 && strcmp(name, "[vsyscall]") != 0 && found < most) {
			parts[found] = (struct part){ start, end - start, "" };
			strncpy(parts[found++].name, name, 31);
		}
	}
	fclose(file);
	return found;
}

static long by_call(long number, long a, long b, long c, long d, long e)
{
	return syscall(number, a, b, c, d, e);
}

/* Without the vdso, and without any memory in the way of one. */
static void child_without(struct part *parts, size_t count, char *base)
{
	for (size_t i = 0; i < count; i++)
		OK(by_call(SYS_munmap, (long)parts[i].start, (long)parts[i].bytes, 0, 0, 0));
	base[0] = 1;
	struct timespec pause = { 0, 10000000 };
	while (!base[1])
		by_call(SYS_nanosleep, (long)&pause, 0, 0, 0, 0);
	struct part left[8];
	_exit(find_parts(left, 8) == 0 ? 0 : 3);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct part parts[8], now[8];
	size_t count = find_parts(parts, 8);
	CHECK(count > 0, "no vdso");
	char *flags = check_map(4096, PROT_READ | PROT_WRITE, MAP_SHARED);
	pid_t child = fork();
	OK(child);
	if (child == 0)
		child_without(parts, count, flags);
	/* Each part somewhere else, in another order. */
	char *places = check_map(64 << 20, PROT_NONE, MAP_PRIVATE);
	for (size_t i = 0; i < count; i++) {
		void *to = places + (count - i) * (4 << 20);
		long got = by_call(SYS_mremap, (long)parts[i].start, (long)parts[i].bytes, (long)parts[i].bytes,
				   MREMAP_MAYMOVE | MREMAP_FIXED, (long)to);
		CHECK(got == (long)to, "mremap of %s", parts[i].name);
		parts[i].start = (unsigned long)to;
	}
	while (!flags[0]) {
		struct timespec pause = { 0, 1000000 };
		by_call(SYS_nanosleep, (long)&pause, 0, 0, 0, 0);
	}
	/* The C library's clock_gettime would jump to where the vdso was; access and nanosleep do not. */
	check_wait();
	DAMAGE(by_call(SYS_munmap, (long)parts[0].start, (long)parts[0].bytes, 0, 0, 0));
	EQUAL(find_parts(now, 8), count);
	for (size_t i = 0; i < count; i++) {
		size_t j = 0;
		while (j < count && strcmp(now[j].name, parts[i].name))
			j++;
		CHECK(j < count && now[j].start == parts[i].start && now[j].bytes == parts[i].bytes, "%s is not at %#lx",
		      parts[i].name, parts[i].start);
		if (strcmp(parts[i].name, "[vdso]") == 0)
			CHECK(memcmp((void *)parts[i].start, "\177ELF", 4) == 0, "no vdso at %#lx", parts[i].start);
	}
	flags[1] = 1;
	int status;
	EQUAL(waitpid(child, &status, 0), child);
	EQUAL(status, 0);
	PASS();
}
