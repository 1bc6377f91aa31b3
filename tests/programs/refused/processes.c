/* Processes and threads that cannot be checkpointed, and System V IPC. */
#include "refused.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/shm.h>

static void seccomp(const char *unused)
{
	(void)unused;
	struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	struct sock_fprog program = { 1, &allow };
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == -1)
		SKIP("seccomp: %s", strerror(errno));
	check_wait();
	EQUAL(prctl(PR_GET_SECCOMP), SECCOMP_MODE_FILTER);
}

static void own_mounts(const char *unused)
{
	(void)unused;
	own_namespaces(CLONE_NEWNS);
	OK(mount("tmpfs", "/proc/tty", "tmpfs", 0, NULL));
	check_wait();
	EQUAL(access("/proc/tty/drivers", F_OK), -1);
}

static void own_network(const char *unused)
{
	(void)unused;
	own_namespaces(CLONE_NEWNET);
	check_wait();
	EQUAL(access("/proc/self/net/dev", F_OK), 0);
}

/* The folder of the test, seen by a name that holds in both places. */
static void root_folder(const char *unused)
{
	(void)unused;
	own_namespaces(CLONE_NEWNS);
	OK(mount("/", "/", NULL, MS_BIND | MS_REC, NULL));
	char path[PATH_MAX], *here = realpath(".", NULL);
	OK(mkdir("root", 0755));
	snprintf(path, sizeof path, "%s/root", here);
	OK(mount("/", path, NULL, MS_BIND | MS_REC, NULL));
	OK(chroot(path));
	OK(chdir(here));
	check_wait();
	EQUAL(access(here, F_OK), 0);
}

static void pause_for_ever(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		pause();
}

/* Two children that share a folder, which their parent has left. */
static void folder_of_siblings(const char *unused)
{
	(void)unused;
	pid_t children[2];
	for (int i = 0; i < 2; i++) {
		OK(children[i] = (pid_t)syscall(SYS_clone, CLONE_FS | SIGCHLD, 0, 0, 0, 0));
		if (children[i] == 0)
			pause_for_ever();
	}
	OK(unshare(CLONE_FS));
	check_wait();
	end_child(children[0]);
	end_child(children[1]);
}

static atomic_int there;

static void *with_descriptors(void *unused)
{
	OK(unshare(CLONE_FILES));
	there = 1;
	pause();
	return unused;
}

static void descriptors_of_thread(const char *unused)
{
	(void)unused;
	pthread_t thread;
	check_create(&thread, with_descriptors, NULL);
	while (!there)
		check_sleep(0.001);
	check_wait();
}

static void *waiting(void *unused)
{
	there = 1;
	pause();
	return unused;
}

static void *with_folder(void *unused)
{
	pthread_t thread;
	OK(unshare(CLONE_FS));
	check_create(&thread, waiting, NULL);
	pause();
	return unused;
}

static void folder_of_threads(const char *unused)
{
	(void)unused;
	pthread_t thread;
	check_create(&thread, with_folder, NULL);
	while (!there)
		check_sleep(0.001);
	check_wait();
}

static void trace(void *pid)
{
	OK(ptrace(PTRACE_SEIZE, *(pid_t *)pid, NULL, NULL));
}

/* By a child, as a program that looks at its own crash is. */
static void traced(const char *unused)
{
	(void)unused;
	pid_t own = getpid();
	pid_t child = child_that(trace, &own);
	check_wait();
	end_child(child);
}

static pid_t main_tid;

static void *alone(void *unused)
{
	char path[64], line[512];
	do {
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", main_tid);
		check_read_line(path, line, sizeof line);
	} while (strrchr(line, ')')[2] != 'Z');
	unsigned long start = 0, end = 0;
	FILE *file = fopen("/proc/thread-self/maps", "re");
	CHECK(file, "no maps");
	while (fgets(line, sizeof line, file))
		if (strstr(line, "[vdso]"))
			sscanf(line, "%lx-%lx", &start, &end);
	fclose(file);
	OK(munmap((void *)start, end - start));
	check_wait();
	PASS();
	return unused;
}

static void main_thread_ended(const char *unused)
{
	(void)unused;
	pthread_t thread;
	main_tid = getpid();
	check_create(&thread, alone, NULL);
	pthread_exit(NULL);
}

static int segment_of_key(const char *key)
{
	int id = shmget((key_t)atoi(key), 4096, IPC_CREAT | 0600);
	OK(id);
	return id;
}

static char *attached(int id)
{
	char *memory = shmat(id, NULL, 0);
	CHECK(memory != (void *)-1, "shmat");
	return memory;
}

/* The test runs this a second time, outside, with the same key. */
static void segment_outside(const char *key)
{
	int id = segment_of_key(key);
	char *memory = attached(id);
	check_wait();
	memory[0] = 1;
	shmctl(id, IPC_RMID, NULL);
}

static void segment_forbidden(const char *unused)
{
	(void)unused;
	int id = shmget(IPC_PRIVATE, 4096, 0600);
	OK(id);
	char *memory = attached(id);
	struct shmid_ds state;
	OK(shmctl(id, IPC_STAT, &state));
	state.shm_perm.mode = 0;
	OK(shmctl(id, IPC_SET, &state));
	check_wait();
	memory[0] = 1;
	OK(shmctl(id, IPC_RMID, NULL));
}

static void segment_of_reaper(const char *unused)
{
	(void)unused;
	OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
	int id = shmget(IPC_PRIVATE, 4096, 0600);
	OK(id);
	check_wait();
	EQUAL(attached(id)[0], 0);
	OK(shmctl(id, IPC_RMID, NULL));
}

static void make_ipc(void *unused)
{
	(void)unused;
	own_namespaces(CLONE_NEWIPC);
}

static void own_ipc(const char *unused)
{
	(void)unused;
	pid_t child = child_that(make_ipc, NULL);
	check_wait();
	end_child(child);
}

/* As much as only an administrator's queue takes. */
static void long_queue(const char *unused)
{
	(void)unused;
	struct {
		long type;
		char text[8000];
	} message = { .type = 1 };
	int id = msgget(IPC_PRIVATE, 0600);
	OK(id);
	for (int i = 0; i < 3; i++) {
		if (msgsnd(id, &message, sizeof message.text, IPC_NOWAIT) == -1) {
			msgctl(id, IPC_RMID, NULL);
			SKIP("msgsnd: %s (kernel.msgmnb is as usual)", strerror(errno));
		}
	}
	check_wait();
	OK(msgctl(id, IPC_RMID, NULL));
}

static void long_message(const char *unused)
{
	(void)unused;
	static struct {
		long type;
		char text[9000];
	} message = { .type = 1 };
	int id = msgget(IPC_PRIVATE, 0600);
	OK(id);
	if (msgsnd(id, &message, sizeof message.text, IPC_NOWAIT) == -1) {
		msgctl(id, IPC_RMID, NULL);
		SKIP("msgsnd: %s (kernel.msgmax is as usual)", strerror(errno));
	}
	check_wait();
	OK(msgctl(id, IPC_RMID, NULL));
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{ "seccomp", seccomp },
		{ "own-mounts", own_mounts },
		{ "own-network", own_network },
		{ "root-folder", root_folder },
		{ "folder-of-siblings", folder_of_siblings },
		{ "descriptors-of-thread", descriptors_of_thread },
		{ "folder-of-threads", folder_of_threads },
		{ "traced", traced },
		{ "main-thread-ended", main_thread_ended },
		{ "segment-outside", segment_outside },
		{ "segment-forbidden", segment_forbidden },
		{ "segment-of-reaper", segment_of_reaper },
		{ "own-ipc", own_ipc },
		{ "long-queue", long_queue },
		{ "long-message", long_message },
	};
	return refused_main(argc, argv, kinds, LENGTH(kinds));
}
