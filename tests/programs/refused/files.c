/* Descriptors and folders that cannot be checkpointed. */
#include "refused.h"
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <linux/userfaultfd.h>
#include <sys/epoll.h>
#include <sys/fanotify.h>
#include <sys/un.h>

static void fanotify(const char *unused)
{
	(void)unused;
	int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID | FAN_NONBLOCK, 0);
	if (fd == -1)
		SKIP("fanotify_init: %s", strerror(errno));
	OK(fanotify_mark(fd, FAN_MARK_ADD, FAN_CREATE | FAN_ONDIR, AT_FDCWD, "."));
	check_wait();
	char bytes[4096];
	OK(close(check_open("made", O_RDWR)));
	CHECK(read(fd, bytes, sizeof bytes) > 0, "no event");
}

/* Any object of the kernel that nobody knows yet: here, rules of Landlock. */
static void kernel_object(const char *unused)
{
	(void)unused;
	uint64_t rules[2] = { 1 };
	int fd = (int)syscall(SYS_landlock_create_ruleset, rules, sizeof rules[0], 0);
	if (fd == -1)
		SKIP("landlock_create_ruleset: %s", strerror(errno));
	held(fd);
}

static void perf(const char *unused)
{
	(void)unused;
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_SOFTWARE, .size = sizeof attributes, .config = PERF_COUNT_SW_TASK_CLOCK, .exclude_kernel = 1
	};
	int fd = (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (fd == -1)
		SKIP("perf_event_open: %s", strerror(errno));
	check_wait();
	uint64_t count;
	EQUAL(read(fd, &count, sizeof count), sizeof count);
}

static void userfaultfd(const char *unused)
{
	(void)unused;
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
	if (fd == -1)
		SKIP("userfaultfd: %s", strerror(errno));
	struct uffdio_api api = { .api = UFFD_API };
	OK(ioctl(fd, UFFDIO_API, &api));
	void *memory = check_map(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	struct uffdio_register range = { .range = { (uintptr_t)memory, 4096 }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	OK(ioctl(fd, UFFDIO_REGISTER, &range));
	check_wait();
	struct uffdio_zeropage zero = { .range = { (uintptr_t)memory, 4096 } };
	OK(ioctl(fd, UFFDIO_ZEROPAGE, &zero));
	check_zero(memory, 4096);
}

static void secret_memory(const char *unused)
{
	(void)unused;
	int fd = (int)syscall(SYS_memfd_secret, 0);
	if (fd == -1)
		SKIP("memfd_secret: %s", strerror(errno));
	held(fd);
}

static void file_system_in_the_making(const char *unused)
{
	(void)unused;
	own_namespaces(CLONE_NEWNS);
	int fd = (int)syscall(SYS_fsopen, "tmpfs", 0);
	if (fd == -1)
		SKIP("fsopen: %s", strerror(errno));
	held(fd);
}

static void kvm(const char *unused)
{
	(void)unused;
	int device = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (device == -1)
		SKIP("/dev/kvm: %s", strerror(errno));
	int fd = ioctl(device, 0xae01 /* KVM_CREATE_VM */, 0);
	if (fd == -1)
		SKIP("KVM_CREATE_VM: %s", strerror(errno));
	OK(close(device));
	held(fd);
}

static void bpf(const char *unused)
{
	(void)unused;
	union bpf_attr attributes = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1 };
	int fd = (int)syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
	if (fd == -1)
		SKIP("bpf: %s", strerror(errno));
	held(fd);
}

/* The first of these that may be opened. */
static int open_first(const char *const *paths)
{
	for (; *paths; paths++) {
		int fd = open(*paths, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd != -1)
			return fd;
	}
	SKIP("none may be opened by this user");
}

static void device(const char *unused)
{
	(void)unused;
	held(open_first((const char *const[]){ "/dev/fuse", "/dev/hpet", "/dev/rtc0", "/dev/net/tun", "/dev/loop-control", NULL }));
}

static void block_device(const char *unused)
{
	(void)unused;
	held(open_first((const char *const[]){ "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0", NULL }));
}

static void deleted_socket(const char *unused)
{
	(void)unused;
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "deleted-socket" };
	int server = socket(AF_UNIX, SOCK_STREAM, 0);
	OK(bind(server, (struct sockaddr *)&name, sizeof name));
	int fd = open(name.sun_path, O_PATH | O_CLOEXEC);
	OK(fd);
	OK(unlink(name.sun_path));
	held(fd);
}

/* Files have to be found from another folder. */
static char *absolute_base(void)
{
	static char base[PATH_MAX];
	char *here = realpath(".", NULL);
	if (check_base[0] != '/') {
		snprintf(base, sizeof base, "%s/%s", here, check_base);
		check_base = base;
	}
	return here;
}

/* A file and the current folder, over both of which something is mounted. */
static void covered(const char *unused)
{
	(void)unused;
	absolute_base();
	OK(mkdir("covered", 0755));
	OK(chdir("covered"));
	static char path[PATH_MAX];
	CHECK(realpath(".", path), "no folder");
	int fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	OK(fd);
	EQUAL(write(fd, "text", 4), 4);
	void *memory = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	CHECK(memory != MAP_FAILED, "no mapping");
	if (mount("tmpfs", path, "tmpfs", 0, NULL) == -1)
		SKIP("nothing can be mounted: %s", strerror(errno));
	strcat(path, "/file");
	OK(close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644)));
	check_wait();
	char text[4];
	EQUAL(pread(fd, text, 4, 0), 4);
	EQUAL(memcmp(text, memory, 4), 0);
	EQUAL(memcmp(text, "text", 4), 0);
	EQUAL(access("file", F_OK), 0);
}

/* Of the test, which tells its number. */
static void file_of_outside(const char *pid)
{
	char path[64], text[16];
	snprintf(path, sizeof path, "/proc/%s/status", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		SKIP("%s: %s", path, strerror(errno));
	check_wait();
	CHECK(pread(fd, text, sizeof text, 0) > 0, "nothing to read");
}

static void folder_of_outside(const char *pid)
{
	char path[64], *here = absolute_base();
	snprintf(path, sizeof path, "/proc/%s", pid);
	if (chdir(path) == -1)
		SKIP("%s: %s", path, strerror(errno));
	check_wait();
	EQUAL(access("stat", F_OK), 0);
	OK(chdir(here));
}

static void *sleeping(void *tid)
{
	*(_Atomic pid_t *)tid = gettid();
	for (;;)
		pause();
	return NULL;
}

static pid_t sleeping_thread(void)
{
	static _Atomic pid_t tid;
	pthread_t thread;
	check_create_asleep(&thread, sleeping, &tid);
	return tid;
}

static void file_of_thread(const char *unused)
{
	(void)unused;
	char path[64], text[16];
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", sleeping_thread());
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	OK(fd);
	check_wait();
	CHECK(pread(fd, text, sizeof text, 0) > 0, "nothing to read");
}

static void namespace_left(const char *unused)
{
	(void)unused;
	int fd = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
	OK(fd);
	own_namespaces(0);
	held(fd);
}

static void pidfd_of_thread(const char *unused)
{
	(void)unused;
	int fd = (int)syscall(SYS_pidfd_open, sleeping_thread(), O_EXCL);
	if (fd == -1)
		SKIP("no pidfds of threads here: %s", strerror(errno));
	held(fd);
}

static void pidfd_of_outside(const char *unused)
{
	(void)unused;
	int fd = (int)syscall(SYS_pidfd_open, getppid(), 0);
	OK(fd);
	held(fd);
}

/* Watches its stdin, which it has closed; whoever started it has it still. */
static void epoll_of_closed(const char *unused)
{
	(void)unused;
	int fd = epoll_create1(EPOLL_CLOEXEC);
	OK(fd);
	struct epoll_event event = { .events = EPOLLIN };
	OK(epoll_ctl(fd, EPOLL_CTL_ADD, 0, &event));
	OK(close(0));
	held(fd);
}

static int fifo(int flags)
{
	char path[PATH_MAX];
	check_path(path, "fifo");
	int fd = open(path, flags | O_NONBLOCK | O_CLOEXEC);
	OK(fd);
	return fd;
}

/* The test has both ends of it. */
static void pipe_from_outside(const char *unused)
{
	(void)unused;
	char bytes[8];
	int fd = fifo(O_RDONLY);
	check_wait();
	EQUAL(read(fd, bytes, sizeof bytes), 4);
}

static void pipe_to_outside(const char *unused)
{
	(void)unused;
	int fd = fifo(O_WRONLY);
	check_wait();
	EQUAL(write(fd, "text", 4), 4);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{ "fanotify", fanotify },
		{ "kernel-object", kernel_object },
		{ "perf", perf },
		{ "userfaultfd", userfaultfd },
		{ "secret-memory", secret_memory },
		{ "file-system-in-the-making", file_system_in_the_making },
		{ "kvm", kvm },
		{ "bpf", bpf },
		{ "device", device },
		{ "block-device", block_device },
		{ "deleted-socket", deleted_socket },
		{ "covered", covered },
		{ "folder-of-outside", folder_of_outside },
		{ "file-of-outside", file_of_outside },
		{ "file-of-thread", file_of_thread },
		{ "namespace-left", namespace_left },
		{ "pidfd-of-thread", pidfd_of_thread },
		{ "pidfd-of-outside", pidfd_of_outside },
		{ "epoll-of-closed", epoll_of_closed },
		{ "pipe-from-outside", pipe_from_outside },
		{ "pipe-to-outside", pipe_to_outside },
	};
	return refused_main(argc, argv, kinds, LENGTH(kinds));
}
