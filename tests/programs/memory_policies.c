/* NUMA policies: of a mapping, of shared memory, of the first thread and of another. */
#include "check.h"

enum { DEFAULT, PREFERRED, BIND, INTERLEAVE, STATIC = 1 << 15, BY_ADDRESS = 2, PAGE = 4096 };

static void get(int *mode, unsigned long *nodes, void *address)
{
	unsigned long mask[16] = { 0 };
	OK(syscall(SYS_get_mempolicy, mode, mask, 1024, address, address ? BY_ADDRESS : 0));
	*nodes = mask[0];
}

static void expect(int wanted, void *address)
{
	int mode;
	unsigned long nodes;
	get(&mode, &nodes, address);
	EQUAL(mode, wanted);
	EQUAL(nodes, wanted != DEFAULT);
}

static volatile int go;
static atomic_int ready;

static void *worker(void *unused)
{
	(void)unused;
	unsigned long node = 1;
	OK(syscall(SYS_set_mempolicy, BIND | STATIC, &node, 64));
	ready = 1;
	while (!go)
		check_sleep(0.002);
	expect(BIND | STATIC, NULL);
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	unsigned long node = 1;
	char *memory = check_map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *shared = check_map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *plain = check_map(16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	if (syscall(SYS_mbind, memory + 4 * PAGE, 4 * PAGE, INTERLEAVE, &node, 64, 0) == -1)
		SKIP("no NUMA here: %s", strerror(errno));
	OK(syscall(SYS_mbind, shared, 16 * PAGE, BIND, &node, 64, 0));
	check_fill(memory, 16 * PAGE, 1);
	pthread_t thread;
	check_create(&thread, worker, NULL);
	while (!ready)
		check_sleep(0.001);
	OK(syscall(SYS_set_mempolicy, PREFERRED, &node, 64));
	check_wait();
	DAMAGE(syscall(SYS_mbind, memory + 4 * PAGE, 4 * PAGE, DEFAULT, NULL, 0, 0));
	expect(PREFERRED, NULL);
	expect(DEFAULT, memory);
	expect(INTERLEAVE, memory + 5 * PAGE);
	expect(DEFAULT, memory + 8 * PAGE);
	expect(BIND, shared + PAGE);
	expect(DEFAULT, plain);
	check_filled(memory, 16 * PAGE, 1);
	go = 1;
	pthread_join(thread, NULL);
	PASS();
}
