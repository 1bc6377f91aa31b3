# make.sh LOG: `make -j4` of a project of three programs from 60 C files, made here.
set -e
log=$1
rm -rf project
mkdir project
cd project
number=0
while [ $number -lt 60 ]; do
    cat >"part$number.c" <<C
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <math.h>
static uint32_t table[256];
uint32_t part$number(uint32_t x)
{
	char text[64];
	for (uint32_t i = 0; i < 256; i++) table[i] = (table[(i * 7 + $number) & 255] ^ x) * 2654435761u + i;
	for (int i = 0; i < 300; i++) x = (x << 5 | x >> 27) ^ table[(x + i) & 255];
	snprintf(text, sizeof text, "%u %f", x, sin(x));
	return x + strlen(text);
}
C
    echo "X(part$number)" >>parts.h
    number=$((number + 1))
done
cat >main.c <<'C'
#include <stdint.h>
#include <stdio.h>
#define X(name) uint32_t name(uint32_t);
#include "parts.h"
#undef X
int main(void)
{
	uint32_t x = SEED;
#define X(name) x = name(x); printf(#name " %08x\n", x);
#include "parts.h"
	return 0;
}
C
# Files that one program of a compilation leaves for the next would be gone after a kill: hence -pipe.
cat >Makefile <<'M'
objects := $(patsubst %.c,%.o,$(wildcard part*.c))
all: one two three
one two three: %: %.o $(objects)
	gcc -pipe -o $@ $^ -lm
one.o two.o three.o: %.o: main.c parts.h
	gcc -pipe -O2 -c -DSEED=$(SEED) -o $@ $<
one.o: SEED = 1
two.o: SEED = 2
three.o: SEED = 3
%.o: %.c
	gcc -pipe -O2 -Wall -Wno-format-truncation -c -o $@ $<
M
# -B: what was half written when all was killed, and is newer than the checkpoint, must not pass for up to date.
make -B -s -j4
for program in one two three; do "./$program"; done >result
cksum result part*.o >list
cat result list >"../$log"
