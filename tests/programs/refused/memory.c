/* Memory that cannot be checkpointed. */
#include "refused.h"
#include <linux/perf_event.h>
#include <ucontext.h>

static void secret(const char *unused)
{
	(void)unused;
	int fd = (int)syscall(SYS_memfd_secret, 0);
	if (fd == -1)
		SKIP("memfd_secret: %s", strerror(errno));
	OK(ftruncate(fd, 8192));
	void *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		SKIP("secret memory cannot be mapped: %s", strerror(errno));
	OK(close(fd));
	check_fill(memory, 8192, 5);
	check_wait();
	check_filled(memory, 8192, 5);
}

/* The buffer of a performance counter, whose descriptor is closed. */
static void of_device(const char *unused)
{
	(void)unused;
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1
	};
	int fd = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd == -1)
		SKIP("perf_event_open: %s", strerror(errno));
	struct perf_event_mmap_page *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		SKIP("a performance counter cannot be mapped: %s", strerror(errno));
	OK(close(fd));
	uint32_t version = page->version;
	check_wait();
	EQUAL(page->version, version);
}

static char *stack_start, *stack_end;

static void find_stack(void)
{
	char line[512];
	FILE *file = fopen("/proc/self/maps", "re");
	CHECK(file, "no maps");
	while (fgets(line, sizeof line, file)) {
		unsigned long start, end;
		if (strstr(line, "[stack]") && sscanf(line, "%lx-%lx", &start, &end) == 2) {
			stack_start = (char *)start;
			stack_end = (char *)end;
		}
	}
	fclose(file);
	CHECK(stack_end, "no stack");
}

/* Runs a function on another stack than the main one, for good. */
static void on_other_stack(void (*function)(void))
{
	static ucontext_t before, context;
	static char base[PATH_MAX];
	/* The arguments are on the main one. */
	snprintf(base, sizeof base, "%s", check_base);
	check_base = base;
	find_stack();
	OK(getcontext(&context));
	context.uc_stack.ss_sp = check_map(1 << 18, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	context.uc_stack.ss_size = 1 << 18;
	makecontext(&context, function, 0);
	OK(swapcontext(&before, &context));
}

static void without_stack(void)
{
	OK(munmap(stack_start, (size_t)(stack_end - stack_start)));
	check_wait();
	PASS();
}

static void no_stack(const char *unused)
{
	(void)unused;
	on_other_stack(without_stack);
}

static void with_protected_stack(void)
{
	OK(mprotect(stack_start, (size_t)(stack_end - stack_start), PROT_READ));
	check_wait();
	OK(mprotect(stack_start, (size_t)(stack_end - stack_start), PROT_READ | PROT_WRITE));
	PASS();
}

static void protected_stack(const char *unused)
{
	(void)unused;
	on_other_stack(with_protected_stack);
}

/* The main thread runs 32-bit code: until the byte at `flag` is set, it sleeps and sleeps (32-bit nanosleep). */
struct low {
	uint64_t stack;
	uint32_t time[2];
	volatile uint8_t flag;
	uint8_t code[96];
};

static void assemble(struct low *low)
{
	uint8_t *at = low->code;
	uint32_t flag = (uint32_t)(uintptr_t)&low->flag, time = (uint32_t)(uintptr_t)low->time;
	uint32_t stack = (uint32_t)(uintptr_t)&low->stack, stub;
#define BYTES(...)                                                                                     \
	do {                                                                                           \
		uint8_t bytes[] = { __VA_ARGS__ };                                                     \
		memcpy(at, bytes, sizeof bytes);                                                       \
		at += sizeof bytes;                                                                    \
	} while (0)
#define WORD(word) (memcpy(at, &(word), 4), at += 4)
	BYTES(0xb8, 0x2b, 0, 0, 0, 0x8e, 0xd8); /* mov $0x2b,%eax; mov %eax,%ds */
	uint8_t *loop = at;
	BYTES(0x80, 0x3d); /* cmpb $0,flag */
	WORD(flag);
	BYTES(0, 0x75, 0); /* jne out */
	uint8_t *out = at;
	BYTES(0xb8, 162, 0, 0, 0, 0xbb); /* mov $nanosleep,%eax; mov $time,%ebx */
	WORD(time);
	BYTES(0x31, 0xc9, 0xcd, 0x80, 0xeb, 0); /* xor %ecx,%ecx; int $0x80; jmp loop */
	at[-1] = (uint8_t)(loop - at);
	out[-1] = (uint8_t)(at - out);
	stub = (uint32_t)(uintptr_t)(at + 7);
	BYTES(0xea); /* ljmp $0x33,stub */
	WORD(stub);
	BYTES(0x33, 0, 0x48, 0x8b, 0x24, 0x25); /* mov stack,%rsp; ret */
	WORD(stack);
	BYTES(0xc3);
}

static void *end_it(void *argument)
{
	struct low *low = argument;
	check_wait();
	low->flag = 1;
	return NULL;
}

static void thirty_two_bits(const char *unused)
{
	(void)unused;
	struct low *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	CHECK(low != MAP_FAILED, "no low memory");
	low->time[1] = 10000000;
	assemble(low);
	pthread_t thread;
	check_create(&thread, end_it, low);
	__asm__ volatile("sub $128, %%rsp; push %%rbp; push %%rbx; lea 1f(%%rip), %%rax; push %%rax; mov %%rsp, (%[stack]);"
			 "push $0x23; push %[code]; lretq;"
			 "1: pop %%rbx; pop %%rbp; add $128, %%rsp"
			 :
			 : [code] "r"(low->code), [stack] "r"(&low->stack)
			 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "cc",
			   "memory");
	CHECK(pthread_join(thread, NULL) == 0, "pthread_join");
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{ "secret", secret },
		{ "of-device", of_device },
		{ "no-stack", no_stack },
		{ "protected-stack", protected_stack },
		{ "thirty-two-bits", thirty_two_bits },
	};
	return refused_main(argc, argv, kinds, LENGTH(kinds));
}
