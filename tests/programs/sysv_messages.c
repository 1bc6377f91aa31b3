/* System V message queues: identifier, key, capacity, and the messages in their order, long and empty ones too. */
#include "check.h"
#include <sys/msg.h>

struct message {
	long type;
	char bytes[8192];
};

static void send(int id, long type, size_t size, uint64_t seed)
{
	struct message message = { .type = type };
	check_fill(message.bytes, size, seed);
	OK(msgsnd(id, &message, size, 0));
}

static void receive(int id, long type, size_t size, uint64_t seed)
{
	struct message message;
	EQUAL(msgrcv(id, &message, sizeof message.bytes, type, IPC_NOWAIT), size);
	check_filled(message.bytes, size, seed);
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	key_t key = 0x54000000 | getpid();
	int id = msgget(key, IPC_CREAT | IPC_EXCL | 0620), empty = msgget(IPC_PRIVATE, 0600);
	CHECK(id >= 0 && empty >= 0, "msgget");
	struct msqid_ds state;
	OK(msgctl(id, IPC_STAT, &state));
	state.msg_qbytes = 12000;
	OK(msgctl(id, IPC_SET, &state));
	send(id, 7, 80, 1);
	send(id, 1L << 40, 8192, 2);
	send(id, 7, 0, 3);
	send(id, 9, 1600, 4);
	check_wait();
	DAMAGE(receive(id, 7, 80, 1));
	EQUAL(msgget(key, 0), id);
	OK(msgctl(id, IPC_STAT, &state));
	EQUAL(state.msg_qbytes, 12000);
	EQUAL(state.msg_qnum, 4);
	EQUAL(state.__msg_cbytes, 80 + 8192 + 1600);
	EQUAL(state.msg_perm.mode, 0620);
	EQUAL(state.msg_lspid, getpid());
	receive(id, 9, 1600, 4);
	receive(id, 0, 80, 1);
	receive(id, 7, 0, 3);
	receive(id, 0, 8192, 2);
	EQUAL(msgrcv(empty, &(struct message){ 0 }, 8, 0, IPC_NOWAIT), -1);
	EQUAL(errno, ENOMSG);
	OK(msgctl(id, IPC_RMID, NULL));
	OK(msgctl(empty, IPC_RMID, NULL));
	PASS();
}
