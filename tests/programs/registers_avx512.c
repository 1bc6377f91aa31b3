/* The 32 ZMM and the mask registers of AVX-512 keep their values in a loop without calls. */
#include "check.h"

static volatile int stop;

#define ZMM(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) \
	X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23) X(24) X(25) X(26) X(27) X(28) X(29) X(30) X(31)
#define MASK(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define LOAD_ZMM(n) "vmovdqu64 64*" #n "(%[p]), %%zmm" #n "\n"
#define SAVE_ZMM(n) "vmovdqu64 %%zmm" #n ", 64*" #n "(%[n])\n"
#define LOAD_MASK(n) "kmovq 2048+8*" #n "(%[p]), %%k" #n "\n"
#define SAVE_MASK(n) "kmovq %%k" #n ", 2048+8*" #n "(%[n])\n"
#define NAME_ZMM(n) "xmm" #n,

__attribute__((target("avx512f,avx512bw"))) static int spin(const unsigned char *pattern, unsigned char *now)
{
	__asm__ volatile(ZMM(LOAD_ZMM) MASK(LOAD_MASK)
			 "1: cmpl $0, %[stop]\n je 1b\n"
			 ZMM(SAVE_ZMM) MASK(SAVE_MASK)
			 :
			 : [p] "r"(pattern), [n] "r"(now), [stop] "m"(stop)
			 : ZMM(NAME_ZMM) "memory", "cc");
	return memcmp(pattern, now, 2048 + 64) != 0;
}

static void *spinner(void *seed)
{
	static __thread unsigned char pattern[2112], now[2112];
	check_fill(pattern, sizeof pattern, (uintptr_t)seed);
	int differs = spin(pattern, now);
	DAMAGE(differs = 1);
	if (differs)
		FAIL("an AVX-512 register changed");
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw"))
		SKIP("the processor has no AVX-512");
	pthread_t threads[2];
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], spinner, (void *)(i + 7));
	check_sleep(0.05);
	check_wait();
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	PASS();
}
