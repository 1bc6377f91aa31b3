/* A memfd that is sealed against writing, with mappings that cannot become writable, and one that is not sealed. */
#include "check.h"

enum { SIZE = 3 * 4096 };

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char own[64];
	int sealed = memfd_create("sealed", MFD_ALLOW_SEALING), plain = memfd_create("plain", 0);
	OK(ftruncate(plain, SIZE));
	char *filled = malloc(SIZE);
	check_fill(filled, SIZE, 1);
	EQUAL(write(sealed, filled, SIZE), SIZE);
	snprintf(own, sizeof own, "/proc/self/fd/%d", sealed);
	int reader = open(own, O_RDONLY);
	char *shared = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, reader, 0);
	int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
	OK(fcntl(sealed, F_ADD_SEALS, seals));
	char *later = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, plain, 0);
	CHECK(shared != MAP_FAILED && later != MAP_FAILED, "mmap");
	check_wait();
	DAMAGE(fcntl(sealed, F_ADD_SEALS, F_SEAL_SEAL));
	check_filled(shared, SIZE, 1);
	EQUAL(fcntl(sealed, F_GET_SEALS), seals);
	EQUAL(mprotect(shared, SIZE, PROT_READ | PROT_WRITE), -1);
	EQUAL(write(sealed, "x", 1), -1);
	OK(mprotect(later, SIZE, PROT_READ | PROT_WRITE));
	later[5000] = 7;
	char byte = 0;
	EQUAL(pread(plain, &byte, 1, 5000), 1);
	EQUAL(byte, 7);
	EQUAL(fcntl(plain, F_GET_SEALS), F_SEAL_SEAL);
	PASS();
}
