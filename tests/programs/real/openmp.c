/* A heat equation on a grid with OpenMP: openmp LOG ITERATIONS [STEPS]
 *
 * Writes one line per iteration, with a checksum of the grid, to stdout and to LOG. The results do not depend on the
 * number of threads.
 */
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N = 512 };

static double grid[2][N][N];

static void step(double (*from)[N], double (*to)[N], int iteration)
{
#pragma omp parallel for schedule(dynamic, 8)
	for (int y = 1; y < N - 1; y++)
		for (int x = 1; x < N - 1; x++)
			to[y][x] = from[y][x] + 0.2 * (from[y - 1][x] + from[y + 1][x] + from[y][x - 1] + from[y][x + 1] -
						       4 * from[y][x]);
	to[N / 2][iteration * 7 % (N - 2) + 1] += 1.0 / (iteration + 1);
}

static uint64_t checksum(double (*values)[N])
{
	uint64_t sum = 0;
#pragma omp parallel for reduction(^ : sum)
	for (int y = 0; y < N; y++)
		for (int x = 0; x < N; x++) {
			uint64_t bits;
			memcpy(&bits, &values[y][x], 8);
			sum ^= (bits + (uint64_t)(y * N + x)) * 0x9e3779b97f4a7c15u;
		}
	return sum;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	FILE *log = fopen(argv[1], "w");
	int iterations = atoi(argv[2]), steps = argc > 3 ? atoi(argv[3]) : 20;
	if (!log)
		return 3;
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 0; i < N * N; i++)
		grid[0][i / N][i % N] = (double)(i * 7919 % 1000) / 1000;
	int now = 0;
	for (int i = 0; i < iterations; i++) {
		for (int s = 0; s < steps; s++, now = !now)
			step(grid[now], grid[!now], i * steps + s);
		uint64_t sum = checksum(grid[now]);
		printf("iteration %d %016lx\n", i, sum);
		fprintf(log, "iteration %d %016lx\n", i, sum);
		fflush(log);
	}
	printf("final %016lx\n", checksum(grid[now]));
	fprintf(log, "final %016lx\n", checksum(grid[now]));
	return fclose(log) != 0;
}
