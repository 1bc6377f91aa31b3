/* SSE, AVX, x87 registers and the control words keep their values in a loop without calls. */
#include "check.h"
#include <fenv.h>

static volatile int stop;

__attribute__((target("avx"))) static int spin_avx(const unsigned char pattern[16][32])
{
	unsigned char now[16][32] __attribute__((aligned(32)));
	for (;;) {
		__asm__ volatile(
			"vmovups 0(%[p]), %%ymm0\n vmovups 32(%[p]), %%ymm1\n vmovups 64(%[p]), %%ymm2\n"
			"vmovups 96(%[p]), %%ymm3\n vmovups 128(%[p]), %%ymm4\n vmovups 160(%[p]), %%ymm5\n"
			"vmovups 192(%[p]), %%ymm6\n vmovups 224(%[p]), %%ymm7\n vmovups 256(%[p]), %%ymm8\n"
			"vmovups 288(%[p]), %%ymm9\n vmovups 320(%[p]), %%ymm10\n vmovups 352(%[p]), %%ymm11\n"
			"vmovups 384(%[p]), %%ymm12\n vmovups 416(%[p]), %%ymm13\n vmovups 448(%[p]), %%ymm14\n"
			"vmovups 480(%[p]), %%ymm15\n"
			"mov $20000000, %%ecx\n 1: dec %%ecx\n jz 2f\n cmpl $0, %[stop]\n je 1b\n 2:\n"
			"vmovups %%ymm0, 0(%[n])\n vmovups %%ymm1, 32(%[n])\n vmovups %%ymm2, 64(%[n])\n"
			"vmovups %%ymm3, 96(%[n])\n vmovups %%ymm4, 128(%[n])\n vmovups %%ymm5, 160(%[n])\n"
			"vmovups %%ymm6, 192(%[n])\n vmovups %%ymm7, 224(%[n])\n vmovups %%ymm8, 256(%[n])\n"
			"vmovups %%ymm9, 288(%[n])\n vmovups %%ymm10, 320(%[n])\n vmovups %%ymm11, 352(%[n])\n"
			"vmovups %%ymm12, 384(%[n])\n vmovups %%ymm13, 416(%[n])\n vmovups %%ymm14, 448(%[n])\n"
			"vmovups %%ymm15, 480(%[n])\n"
			:
			: [p] "r"(pattern), [n] "r"(now), [stop] "m"(stop)
			: "rcx", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			  "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
		if (stop)
			DAMAGE(now[3][7] ^= 1);
		if (memcmp(pattern, now, sizeof now))
			return 1;
		if (stop)
			return 0;
	}
}

static void *avx_thread(void *unused)
{
	(void)unused;
	unsigned char pattern[16][32];
	check_fill(pattern, sizeof pattern, 42);
	if (spin_avx(pattern))
		FAIL("an AVX register changed");
	return NULL;
}

/* Eight values on the x87 stack and an unusual rounding mode stay while the thread spins. */
static void *x87_thread(void *unused)
{
	(void)unused;
	long double out[8];
	fesetround(FE_UPWARD);
	uint32_t mxcsr = 0x5f80, mxcsr_after; /* round up, all exceptions masked */
	__asm__ volatile("ldmxcsr %0" : : "m"(mxcsr));
	__asm__ volatile("fld1\n fldpi\n fldl2e\n fldl2t\n fldlg2\n fldln2\n fldz\n fld1\n"
			 "1: cmpl $0, %[stop]\n je 1b\n"
			 "fstpt 0(%[o])\n fstpt 16(%[o])\n fstpt 32(%[o])\n fstpt 48(%[o])\n"
			 "fstpt 64(%[o])\n fstpt 80(%[o])\n fstpt 96(%[o])\n fstpt 112(%[o])\n"
			 : : [o] "r"(out), [stop] "m"(stop) : "memory", "cc");
	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr_after));
	CHECK(out[0] == 1 && out[1] == 0 && out[7] == 1, "x87 stack: %Lg %Lg %Lg", out[0], out[1], out[7]);
	CHECK(out[6] > 3.14159L && out[6] < 3.1416L, "x87 stack: pi is %Lg", out[6]);
	EQUAL(fegetround(), FE_UPWARD);
	EQUAL(mxcsr_after & 0x6000, 0x4000);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	if (!__builtin_cpu_supports("avx"))
		SKIP("the processor has no AVX");
	pthread_t avx, x87;
	check_create(&avx, avx_thread, NULL);
	check_create(&x87, x87_thread, NULL);
	check_sleep(0.05);
	check_wait();
	stop = 1;
	pthread_join(avx, NULL);
	pthread_join(x87, NULL);
	PASS();
}
