/* Guard areas still fault where they did, read-only data cannot be written, and code cannot be executed. */
#include "check.h"
#include <setjmp.h>

enum { PAGE = 4096 };
static sigjmp_buf back;
static volatile void *fault_address;
static volatile int fault_code;

static void handler(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	fault_address = info->si_addr;
	fault_code = info->si_code;
	siglongjmp(back, 1);
}

/* Touches a byte; true when that raised SIGSEGV at this address with this code. */
static bool faults(volatile char *address, bool write, int code)
{
	if (sigsetjmp(back, 1))
		return fault_address == address && fault_code == code;
	if (write)
		*address = 1;
	else
		(void)*address;
	return false;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(sigaction(SIGSEGV, &(struct sigaction){ .sa_sigaction = handler, .sa_flags = SA_SIGINFO }, NULL));
	char *memory = check_map(9 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *reserved = check_map(1 << 30, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE);
	check_fill(memory, 9 * PAGE, 6);
	OK(mprotect(memory + 2 * PAGE, PAGE, PROT_NONE));
	OK(mprotect(memory + 4 * PAGE, PAGE, PROT_READ));
	munmap(memory + 6 * PAGE, PAGE);
	CHECK(faults(memory + 2 * PAGE, false, SEGV_ACCERR), "no fault before the checkpoint");
	check_wait();
	DAMAGE(mprotect(memory + 2 * PAGE, PAGE, PROT_READ));
	CHECK(faults(memory + 2 * PAGE + 5, false, SEGV_ACCERR), "the guard page can be read");
	CHECK(faults(memory + 4 * PAGE + 5, true, SEGV_ACCERR), "the read-only page can be written");
	CHECK(!faults(memory + 4 * PAGE + 5, false, 0), "the read-only page cannot be read");
	CHECK(faults(memory + 6 * PAGE, false, SEGV_MAPERR), "the hole is mapped");
	CHECK(faults(reserved + (1 << 29), false, SEGV_ACCERR), "the reserved area can be read");
	OK(mprotect(memory + 2 * PAGE, PAGE, PROT_READ));
	check_filled(memory, 6 * PAGE, 6);
	OK(mprotect(reserved, PAGE, PROT_READ | PROT_WRITE));
	check_zero(reserved, PAGE);
	PASS();
}
