// Many goroutines, channels, timers and garbage: goroutines LOG ITERATIONS [WORK]
//
// A ring of 2000 goroutines passes tokens on; each keeps growing its stack now and then and makes garbage. One line
// per iteration to stdout and to LOG; the sums do not depend on the schedule.
package main

import (
	"fmt"
	"os"
	"sort"
	"strconv"
	"sync"
	"time"
)

const ring = 2000

var work = 200

// A deep recursion makes the goroutine's stack move.
func deep(depth int, value uint64) uint64 {
	var local [16]uint64
	for i := range local {
		local[i] = value + uint64(i*depth)
	}
	if depth == 0 {
		return value
	}
	below := deep(depth-1, value*6364136223846793005+1442695040888963407)
	return below ^ local[depth%16]
}

func compute(value uint64) uint64 {
	words := make(map[uint64]string)
	for i := 0; i < work; i++ {
		value ^= value << 13
		value ^= value >> 7
		value ^= value << 17
		words[value%64] = strconv.FormatUint(value, 16)
	}
	keys := make([]uint64, 0, len(words))
	for key := range words {
		keys = append(keys, key)
	}
	sort.Slice(keys, func(a, b int) bool { return keys[a] < keys[b] })
	for _, key := range keys {
		value += uint64(len(words[key])) * key
	}
	return value ^ deep(int(value%200), value)
}

func node(in <-chan uint64, out chan<- uint64, group *sync.WaitGroup) {
	defer group.Done()
	defer close(out)
	for value := range in {
		out <- value*3 + 1
	}
}

func main() {
	if len(os.Args) < 3 {
		os.Exit(2)
	}
	log, err := os.Create(os.Args[1])
	iterations, _ := strconv.Atoi(os.Args[2])
	if err != nil {
		os.Exit(3)
	}
	if len(os.Args) > 3 {
		work, _ = strconv.Atoi(os.Args[3])
	}
	var group sync.WaitGroup
	first := make(chan uint64)
	in := first
	for i := 0; i < ring; i++ {
		out := make(chan uint64, i%3)
		group.Add(1)
		go node(in, out, &group)
		in = out
	}
	ticker := time.NewTicker(3 * time.Millisecond)
	ticks := 0
	go func() {
		for range ticker.C {
			ticks++
		}
	}()
	sum := uint64(1)
	for i := 0; i < iterations; i++ {
		results := make([]uint64, 16)
		var pieces sync.WaitGroup
		for p := range results {
			pieces.Add(1)
			go func(p int, value uint64) {
				defer pieces.Done()
				results[p] = compute(value)
			}(p, sum+uint64(p)*7919)
		}
		first <- sum
		sum = <-in
		pieces.Wait()
		for _, result := range results {
			sum = sum*31 + result
		}
		time.Sleep(time.Millisecond)
		line := fmt.Sprintf("iteration %d %016x\n", i, sum)
		os.Stdout.WriteString(line)
		log.WriteString(line)
	}
	close(first)
	for range in {
	}
	group.Wait()
	line := fmt.Sprintf("final %016x\n", sum)
	os.Stdout.WriteString(line)
	log.WriteString(line)
	if log.Close() != nil {
		os.Exit(4)
	}
}
