/* A thread blocked in a system call comes back from it with all other registers as they were. */
#include "check.h"
#include <linux/futex.h>

static uint32_t word;
static _Atomic pid_t tid;

/* futex(&word, FUTEX_WAIT, 0, NULL) with known callee-saved and vector registers around it. */
static long wait_with_registers(long *wrong)
{
	long result;
	unsigned char vector[16], after[16];
	check_fill(vector, sizeof vector, 9);
	*wrong = 0;
	register long r10 __asm__("r10") = 0;
	__asm__ volatile("movdqu (%[v]), %%xmm9\n"
			 "mov $0x123456789abcdef, %%rbx\n mov %%rbx, %%r12\n mov %%rbx, %%r13\n"
			 "mov %%rbx, %%r14\n mov %%rbx, %%r9\n not %%r9\n"
			 "syscall\n"
			 "movdqu %%xmm9, (%[a])\n"
			 "cmp %%rbx, %%r12\n jne 1f\n cmp %%rbx, %%r13\n jne 1f\n cmp %%rbx, %%r14\n jne 1f\n"
			 "not %%r9\n cmp %%rbx, %%r9\n jne 1f\n"
			 "mov $0x123456789abcdef, %%r12\n cmp %%rbx, %%r12\n jne 1f\n jmp 2f\n"
			 "1: movq $1, (%[w])\n 2:\n"
			 : "=a"(result)
			 : "0"(SYS_futex), "D"(&word), "S"(FUTEX_WAIT), "d"(0L), "r"(r10), [v] "r"(vector), [a] "r"(after),
			   [w] "r"(wrong)
			 : "rcx", "r11", "rbx", "r9", "r12", "r13", "r14", "xmm9", "memory", "cc");
	if (memcmp(vector, after, sizeof vector))
		*wrong = 2;
	return result;
}

static void ignore(int signal)
{
	(void)signal;
}

static void *waiter(void *unused)
{
	(void)unused;
	tid = gettid();
	long wrong, result = wait_with_registers(&wrong);
	EQUAL(result, 0);
	EQUAL(wrong, 0);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	/* Without SA_RESTART, a signal ends the wait: only DAMAGE() sends one. */
	OK(sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = ignore }, NULL));
	pthread_t thread;
	check_create_asleep(&thread, waiter, &tid);
	check_wait();
	check_asleep(tid);
	word = 1;
	DAMAGE(tgkill(getpid(), tid, SIGUSR1); check_sleep(0.1));
	EQUAL(syscall(SYS_futex, &word, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
	pthread_join(thread, NULL);
	PASS();
}
