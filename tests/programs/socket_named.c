/* Sockets that listen or are bound go on doing so under their names; connections between them, too. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>

static char bytes[200];

struct name {
	struct sockaddr_un address;
	socklen_t length;
};

static struct name at_path(const char *suffix)
{
	struct name name = { .address = { .sun_family = AF_UNIX }, .length = sizeof name.address };
	char path[PATH_MAX], folder[PATH_MAX];
	OK(getcwd(folder, sizeof folder) ? 0 : -1);
	check_path(path, suffix);
	int written = snprintf(name.address.sun_path, sizeof name.address.sun_path, "%s%s%s",
			       path[0] == '/' ? "" : folder, path[0] == '/' ? "" : "/", path);
	if (written >= (int)sizeof name.address.sun_path)
		SKIP("the path of the folder is too long for a socket");
	unlink(name.address.sun_path);
	return name;
}

static struct name abstract(const char *suffix)
{
	struct name name = { .address = { .sun_family = AF_UNIX } };
	int length = snprintf(name.address.sun_path + 1, 100, "check-%d-%s", getpid(), suffix);
	name.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
	return name;
}

static int listener(struct name *name, int type)
{
	int fd = socket(AF_UNIX, type, 0);
	OK(fd);
	OK(bind(fd, (struct sockaddr *)&name->address, name->length));
	OK(listen(fd, 3));
	return fd;
}

static int connected(struct name *name, int type)
{
	int fd = socket(AF_UNIX, type, 0);
	OK(fd);
	OK(connect(fd, (struct sockaddr *)&name->address, name->length));
	return fd;
}

static int accepted(int fd)
{
	int connection = accept(fd, NULL, NULL);
	OK(connection);
	return connection;
}

static void exchange(int a, int b)
{
	EQUAL(write(a, "there", 5), 5);
	EQUAL(read(b, bytes, sizeof bytes), 5);
	EQUAL(write(b, "and back", 8), 8);
	EQUAL(read(a, bytes, sizeof bytes), 8);
}

static void has_peer(int fd, struct name *name)
{
	struct sockaddr_un address = { 0 };
	socklen_t length = sizeof address;
	OK(getpeername(fd, (struct sockaddr *)&address, &length));
	if (name->address.sun_path[0])
		CHECK(strcmp(address.sun_path, name->address.sun_path) == 0, "peer is %s", address.sun_path);
	else
		CHECK(length == name->length && memcmp(&address, &name->address, length) == 0, "peer differs");
}

static struct sockaddr_in port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t length = sizeof address;
	OK(getsockname(fd, (struct sockaddr *)&address, &length));
	return address;
}

static int internet(int type)
{
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, type, 0);
	OK(fd);
	OK(bind(fd, (struct sockaddr *)&any, sizeof any));
	return fd;
}

int main(int argc, char **argv)
{
	check_init(argc, argv);
	struct name path = at_path("socket"), hidden = abstract("listens"), box = at_path("box"), gone = at_path("gone");
	int by_path = listener(&path, SOCK_STREAM), by_name = listener(&hidden, SOCK_SEQPACKET);
	OK(chmod(path.address.sun_path, 0610));
	int client[2], server[2];
	for (int i = 0; i < 2; i++) {
		client[i] = connected(&path, SOCK_STREAM);
		server[i] = accepted(by_path);
	}
	EQUAL(write(client[1], "waiting", 7), 7);
	int ended = listener(&gone, SOCK_STREAM), ended_client = connected(&gone, SOCK_STREAM), ended_server = accepted(ended);
	close(ended);
	unlink(gone.address.sun_path);
	int packet_client = connected(&hidden, SOCK_SEQPACKET), packet_server = accepted(by_name);
	int mailbox = socket(AF_UNIX, SOCK_DGRAM, 0);
	OK(bind(mailbox, (struct sockaddr *)&box.address, box.length));
	int sender = connected(&box, SOCK_DGRAM);
	int fresh = socket(AF_UNIX, SOCK_STREAM, 0), fresh_tcp = socket(AF_INET6, SOCK_STREAM, 0);
	int tcp = internet(SOCK_STREAM), udp = internet(SOCK_DGRAM), udp_client = socket(AF_INET, SOCK_DGRAM, 0);
	OK(listen(tcp, 7));
	struct sockaddr_in tcp_port = port_of(tcp), udp_port = port_of(udp);
	OK(connect(udp_client, (struct sockaddr *)&udp_port, sizeof udp_port));
	struct sockaddr_in client_port = port_of(udp_client);
	int one = 1;
	OK(setsockopt(fresh_tcp, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
	OK(setsockopt(udp, SOL_SOCKET, SO_BROADCAST, &one, sizeof one));
	check_wait();
	DAMAGE(close(by_path));
	struct stat file;
	OK(stat(path.address.sun_path, &file));
	EQUAL(file.st_mode & 0777, 0610);
	EQUAL(read(server[1], bytes, sizeof bytes), 7);
	for (int i = 0; i < 2; i++) {
		exchange(client[i], server[i]);
		has_peer(client[i], &path);
	}
	exchange(ended_client, ended_server);
	has_peer(ended_client, &gone);
	EQUAL(access(gone.address.sun_path, F_OK), -1);
	exchange(packet_client, packet_server);
	has_peer(packet_client, &hidden);
	int again = connected(&path, SOCK_STREAM);
	exchange(again, accepted(by_path));
	again = connected(&hidden, SOCK_SEQPACKET);
	exchange(again, accepted(by_name));
	EQUAL(write(sender, "letter", 6), 6);
	EQUAL(read(mailbox, bytes, sizeof bytes), 6);
	OK(connect(fresh, (struct sockaddr *)&path.address, path.length));
	exchange(fresh, accepted(by_path));
	int caller = socket(AF_INET, SOCK_STREAM, 0);
	OK(connect(caller, (struct sockaddr *)&tcp_port, sizeof tcp_port));
	exchange(caller, accepted(tcp));
	EQUAL(write(udp_client, "packet", 6), 6);
	struct sockaddr_in from;
	socklen_t length = sizeof from;
	EQUAL(recvfrom(udp, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &length), 6);
	EQUAL(from.sin_port, client_port.sin_port);
	int value = 0;
	length = sizeof value;
	OK(getsockopt(fresh_tcp, IPPROTO_TCP, TCP_NODELAY, &value, &length));
	EQUAL(value, 1);
	OK(getsockopt(udp, SOL_SOCKET, SO_BROADCAST, &value, &length));
	EQUAL(value, 1);
	unlink(path.address.sun_path);
	unlink(box.address.sun_path);
	PASS();
}
