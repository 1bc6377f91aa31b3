/* AMX tile configuration and tile data keep their values in a loop without calls. */
#include "check.h"

static volatile int stop;

struct tile_config {
	uint8_t palette, start_row, reserved[14];
	uint16_t columns[16];
	uint8_t rows[16];
} __attribute__((packed, aligned(64)));

__attribute__((target("amx-tile"))) static void *spinner(void *unused)
{
	(void)unused;
	struct tile_config config = { .palette = 1 }, config_after;
	for (int i = 0; i < 8; i++) {
		config.columns[i] = 64;
		config.rows[i] = 16;
	}
	static unsigned char pattern[1024] __attribute__((aligned(64))), now[1024] __attribute__((aligned(64)));
	check_fill(pattern, sizeof pattern, 5);
	__asm__ volatile("ldtilecfg %[c]\n tileloadd (%[p],%[s],1), %%tmm3\n"
			 "1: cmpl $0, %[stop]\n je 1b\n"
			 "tilestored %%tmm3, (%[n],%[s],1)\n sttilecfg %[a]\n tilerelease\n"
			 : [a] "=m"(config_after)
			 : [c] "m"(config), [p] "r"(pattern), [n] "r"(now), [s] "r"(64L), [stop] "m"(stop)
			 : "memory", "cc");
	CHECK(!memcmp(pattern, now, sizeof now), "tile data");
	CHECK(!memcmp(&config, &config_after, sizeof config), "tile configuration");
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	/* ARCH_REQ_XCOMP_PERM for XTILEDATA: Documentation/arch/x86/xstate.rst */
	if (syscall(SYS_arch_prctl, 0x1023, 18))
		SKIP("the processor or the kernel has no AMX");
	pthread_t thread;
	check_create(&thread, spinner, NULL);
	check_sleep(0.05);
	check_wait();
	stop = 1;
	pthread_join(thread, NULL);
	PASS();
}
