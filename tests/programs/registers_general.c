/* Every general register keeps its value in a loop that makes no call. */
#include "check.h"

static volatile int stop;
static _Atomic long rounds;

/* Loads known values, loops until *stop, and returns the number of the first register that differs. */
static long spin(void)
{
	long wrong;
	__asm__ volatile(
		"sub $128, %%rsp\n push %%rbp\n"
		"mov $0x1111111111111111, %%rbx\n mov $0x2222222222222222, %%rcx\n"
		"mov $0x3333333333333333, %%rdx\n mov $0x4444444444444444, %%rsi\n"
		"mov $0x5555555555555555, %%rbp\n mov $0x6666666666666666, %%r8\n"
		"mov $0x7777777777777777, %%r9\n mov $0x0888888888888888, %%r10\n"
		"mov $0x0999999999999999, %%r11\n mov $0x0aaaaaaaaaaaaaaa, %%r12\n"
		"mov $0x0bbbbbbbbbbbbbbb, %%r13\n mov $0x0ccccccccccccccc, %%r14\n"
		"mov $0x0ddddddddddddddd, %%r15\n"
		"1: xor %%eax, %%eax\n"
		"add %%rbx, %%rax\n rol $1, %%rax\n add %%rcx, %%rax\n rol $1, %%rax\n"
		"add %%rdx, %%rax\n rol $1, %%rax\n add %%rsi, %%rax\n rol $1, %%rax\n"
		"add %%rbp, %%rax\n rol $1, %%rax\n add %%r8, %%rax\n rol $1, %%rax\n"
		"add %%r9, %%rax\n rol $1, %%rax\n add %%r10, %%rax\n rol $1, %%rax\n"
		"add %%r11, %%rax\n rol $1, %%rax\n add %%r12, %%rax\n rol $1, %%rax\n"
		"add %%r13, %%rax\n rol $1, %%rax\n add %%r14, %%rax\n rol $1, %%rax\n"
		"add %%r15, %%rax\n"
		"cmpq $0, (%%rdi)\n je 3f\n" /* first round: keep the sum */
		"cmp %%rax, (%%rdi)\n jne 2f\n"
		"cmpl $0, %[stop]\n jne 4f\n jmp 1b\n"
		"3: mov %%rax, (%%rdi)\n jmp 1b\n"
		"2: mov $1, %%rax\n jmp 5f\n"
		"4: xor %%eax, %%eax\n"
		"5: pop %%rbp\n add $128, %%rsp\n"
		: "=a"(wrong)
		: [stop] "m"(stop), "D"((long[1]){ 0 })
		: "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
	return wrong;
}

static void *spinner(void *unused)
{
	(void)unused;
	long wrong = spin();
	DAMAGE(wrong = 1);
	if (wrong)
		FAIL("a general register changed");
	rounds++;
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	pthread_t threads[2];
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], spinner, NULL);
	check_sleep(0.05);
	check_wait();
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	EQUAL(rounds, 2);
	PASS();
}
