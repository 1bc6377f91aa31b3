/* What madvise and mlock2 set for a mapping is still set: VmFlags of /proc/self/smaps. */
#include "check.h"

enum { SIZE = 4 << 20 };

static const struct {
	const char *name;
	int advice;
	const char *flag;
} kinds[] = {
	{ "DONTFORK", MADV_DONTFORK, "dc" }, { "WIPEONFORK", MADV_WIPEONFORK, "wf" },
	{ "DONTDUMP", MADV_DONTDUMP, "dd" }, { "HUGEPAGE", MADV_HUGEPAGE, "hg" },
	{ "NOHUGEPAGE", MADV_NOHUGEPAGE, "nh" }, { "MERGEABLE", MADV_MERGEABLE, "mg" },
	{ "SEQUENTIAL", MADV_SEQUENTIAL, "sr" }, { "RANDOM", MADV_RANDOM, "rr" },
};

static bool has(const char *flags, const char *flag)
{
	char word[8];
	snprintf(word, sizeof word, " %s ", flag);
	return strstr(flags, word) != NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char *memory[LENGTH(kinds)], head[512], flags[512];
	bool set[LENGTH(kinds)];
	for (size_t i = 0; i < LENGTH(kinds); i++) {
		memory[i] = check_map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
		check_fill(memory[i], 65536, i);
		if (madvise(memory[i], SIZE, kinds[i].advice) == -1)
			dprintf(1, "note: no MADV_%s here: %s\n", kinds[i].name, strerror(errno));
		check_mapping(memory[i], head, flags, sizeof flags);
		set[i] = has(flags, kinds[i].flag);
		/* Keeps the kernel from joining two of the mappings. */
		check_map(4096, PROT_NONE, MAP_PRIVATE);
	}
	check_wait();
	DAMAGE(madvise(memory[0], SIZE, MADV_DOFORK));
	for (size_t i = 0; i < LENGTH(kinds); i++) {
		check_mapping(memory[i], head, flags, sizeof flags);
		for (size_t k = 0; k < LENGTH(kinds); k++)
			if (has(flags, kinds[k].flag) != (k == i && set[i]))
				FAIL("after MADV_%s the flags are %s", kinds[i].name, flags);
		check_filled(memory[i], 65536, i);
		check_zero(memory[i] + 65536, SIZE - 65536);
	}
	PASS();
}
