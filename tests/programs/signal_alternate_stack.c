/* Every thread keeps its alternate signal stack, and handlers still run on it. */
#include "check.h"

static volatile int stop;
static pthread_barrier_t set_up;
static __thread char *stack;
static __thread size_t size;
static __thread bool on_stack;

static void handler(int signal)
{
	(void)signal;
	char here;
	on_stack = &here >= stack && &here < stack + size;
}

static void *worker(void *argument)
{
	size_t number = (size_t)argument;
	size = 65536 + number * 4096;
	stack = check_map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	stack_t mine = { .ss_sp = stack, .ss_size = size, .ss_flags = number % 2 ? (int)(1u << 31) /* SS_AUTODISARM */ : 0 };
	stack_t now;
	if (number != 3)
		OK(sigaltstack(&mine, NULL));
	pthread_barrier_wait(&set_up);
	while (!stop)
		check_sleep(0.005);
	DAMAGE(sigaltstack(&(stack_t){ .ss_flags = SS_DISABLE }, NULL));
	OK(sigaltstack(NULL, &now));
	if (number == 3) {
		EQUAL(now.ss_flags, SS_DISABLE);
		return NULL;
	}
	CHECK(now.ss_sp == stack && now.ss_size == size, "stack %p %zu", now.ss_sp, now.ss_size);
	EQUAL(now.ss_flags, mine.ss_flags);
	raise(SIGUSR1);
	CHECK(on_stack, "the handler ran on another stack");
	return NULL;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	OK(sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = handler, .sa_flags = SA_ONSTACK }, NULL));
	pthread_t threads[6];
	pthread_barrier_init(&set_up, NULL, LENGTH(threads) + 1);
	for (size_t i = 0; i < LENGTH(threads); i++)
		check_create(&threads[i], worker, (void *)i);
	pthread_barrier_wait(&set_up);
	check_wait();
	stop = 1;
	for (size_t i = 0; i < LENGTH(threads); i++)
		pthread_join(threads[i], NULL);
	PASS();
}
