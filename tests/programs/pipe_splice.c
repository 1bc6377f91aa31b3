/* Bytes that tee(2) and vmsplice(2) put into pipes are there; a splice(2) that waits for more goes on. */
#include "check.h"

static int in[2], out[2], copy[2];
static _Atomic pid_t splicing;
static _Atomic long moved;

static void *splicer(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	moved = splice(in[0], NULL, out[1], NULL, 100, 0);
	return NULL;
}

static void expect(int fd, const char *wanted)
{
	char text[64] = "";
	EQUAL(read(fd, text, sizeof text - 1), (ssize_t)strlen(wanted));
	CHECK(strcmp(text, wanted) == 0, "%s", text);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	int other[2];
	OK(pipe(in));
	OK(pipe(out));
	OK(pipe(copy));
	OK(pipe(other));
	static char page[4096] = "from memory";
	struct iovec vector = { page, 11 };
	EQUAL(vmsplice(other[1], &vector, 1, 0), 11);
	EQUAL(tee(other[0], copy[1], 4, 0), 4);
	pthread_t thread;
	check_create_asleep(&thread, splicer, &splicing);
	check_wait();
	DAMAGE(write(copy[1], "x", 1));
	EQUAL(moved, 0);
	expect(other[0], "from memory");
	expect(copy[0], "from");
	EQUAL(write(in[1], "more", 4), 4);
	pthread_join(thread, NULL);
	EQUAL(moved, 4);
	expect(out[0], "more");
	PASS();
}
