/* Libraries, mapped at start and later with dlopen, are where they were, and their code works. */
#include "check.h"
#include <dlfcn.h>

static uint64_t sum_of_mappings(char *list, size_t size, const char *part)
{
	FILE *file = fopen("/proc/self/maps", "re");
	CHECK(file, "open maps");
	char line[1024];
	uint64_t sum = 0;
	list[0] = 0;
	while (fgets(line, sizeof line, file)) {
		unsigned long from, to;
		char protection[8];
		if (!strstr(line, part) || sscanf(line, "%lx-%lx %7s", &from, &to, protection) != 3)
			continue;
		strncat(list, line, size - strlen(list) - 1);
		if (protection[0] == 'r' && protection[1] != 'w')
			for (const uint64_t *word = (void *)from; word < (uint64_t *)to; word++)
				sum = sum * 31 + *word;
	}
	fclose(file);
	return sum;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	static char before[16384], now[16384];
	void *library = dlopen("libm.so.6", RTLD_NOW);
	CHECK(library, "dlopen: %s", dlerror());
	double (*cosine)(double) = (double (*)(double))dlsym(library, "cos");
	double value = cosine(0.7);
	uint64_t sum = sum_of_mappings(before, sizeof before, ".so");
	check_wait();
	DAMAGE(sum++);
	EQUAL(sum_of_mappings(now, sizeof now, ".so"), sum);
	CHECK(strcmp(before, now) == 0, "mapped libraries were\n%snow\n%s", before, now);
	CHECK(cosine(0.7) == value, "cos");
	dlclose(library);
	library = dlopen("libutil.so.1", RTLD_NOW);
	CHECK(library, "dlopen: %s", dlerror());
	PASS();
}
