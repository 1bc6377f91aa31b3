/* A log that the program goes on appending to has every line once, also after a kill and a restart. */
#include "check.h"

int main(int argc, char **argv)
{
	check_init(argc, argv);
	char path[PATH_MAX];
	check_path(path, "log");
	FILE *log = fopen(path, "w");
	CHECK(log, "open %s", path);
	int appending = check_open("log2", O_WRONLY | O_APPEND);
	check_ready();
	long lines = 0;
	while (!check_go() || lines < 200) {
		fprintf(log, "line %ld\n", lines);
		if (lines % 10 == 9)
			fflush(log);
		CHECK(dprintf(appending, "line %ld\n", lines) > 0, "write");
		lines++;
		check_sleep(0.002);
	}
	fclose(log);
	DAMAGE(dprintf(appending, "line %ld\n", lines - 1));
	static const char *names[] = { "log", "log2" };
	for (size_t i = 0; i < LENGTH(names); i++) {
		check_path(path, names[i]);
		log = fopen(path, "r");
		char line[64], wanted[64];
		long count = 0;
		while (fgets(line, sizeof line, log)) {
			snprintf(wanted, sizeof wanted, "line %ld\n", count++);
			CHECK(strcmp(line, wanted) == 0, "%s: line %ld is %s", names[i], count, line);
		}
		EQUAL(count, lines);
		fclose(log);
	}
	PASS();
}
