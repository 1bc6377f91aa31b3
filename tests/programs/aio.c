/* Linux asynchronous I/O: a context goes on, with completed requests that were not collected yet, full circle. */
#include "check.h"
#include <linux/aio_abi.h>

static aio_context_t context;
static char bytes[4096];

static void submit(int fd, int operation, uint64_t data, off_t offset)
{
	struct iocb request = { .aio_data = data, .aio_lio_opcode = (uint16_t)operation, .aio_fildes = (uint32_t)fd,
				.aio_buf = (uintptr_t)bytes, .aio_nbytes = 100, .aio_offset = offset }, *one = &request;
	EQUAL(syscall(SYS_io_submit, context, 1, &one), 1);
}

static void collect(uint64_t data)
{
	struct io_event event;
	EQUAL(syscall(SYS_io_getevents, context, 1, 1, &event, NULL), 1);
	EQUAL(event.data, data);
	EQUAL(event.res, 100);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	aio_context_t other = 0;
	OK((int)syscall(SYS_io_setup, 1, &other));
	OK((int)syscall(SYS_io_setup, 40, &context));
	int fd = check_open("file", O_RDWR);
	for (uint64_t i = 0; i < 1000; i++) {
		submit(fd, IOCB_CMD_PWRITE, i, (off_t)(i % 7) * 100);
		if (i < 997)
			collect(i);
	}
	check_wait();
	DAMAGE(collect(997));
	for (uint64_t i = 997; i < 1000; i++)
		collect(i);
	struct io_event event;
	EQUAL(syscall(SYS_io_getevents, context, 0, 1, &event, &(struct timespec){ 0, 0 }), 0);
	for (uint64_t i = 0; i < 600; i++) {
		submit(fd, IOCB_CMD_PREAD, i, 0);
		collect(i);
	}
	OK((int)syscall(SYS_io_destroy, context));
	OK((int)syscall(SYS_io_destroy, other));
	EQUAL(syscall(SYS_io_destroy, other), -1);
	PASS();
}
