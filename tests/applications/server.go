// server LOG: an HTTP server of net/http and clients that ask it at the same time.
package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

func digest(writer http.ResponseWriter, request *http.Request) {
	body, _ := io.ReadAll(request.Body)
	sum := sha256.Sum256(body)
	for i := 0; i < 2000; i++ {
		sum = sha256.Sum256(sum[:])
	}
	time.Sleep(5 * time.Millisecond)
	fmt.Fprintf(writer, "%s %x\n", request.URL.Path, sum[:6])
}

func client(number int, address string) string {
	var lines strings.Builder
	for step := 0; step < 100; step++ {
		body := strings.NewReader(strings.Repeat(fmt.Sprint(number, step), 50))
		answer, err := http.Post(fmt.Sprintf("http://%s/%d/%d", address, number, step), "text/plain", body)
		if err != nil {
			fmt.Fprintln(&lines, "error", err)
			continue
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		lines.Write(text)
		time.Sleep(10 * time.Millisecond)
	}
	return lines.String()
}

func main() {
	file, err := os.Create(os.Args[1])
	if err != nil {
		panic(err)
	}
	log := bufio.NewWriter(file)
	listener, err := net.Listen("tcp", "127.0.0.1:28101")
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/", digest)
	go http.Serve(listener, nil)
	var group sync.WaitGroup
	results := make([]string, 8)
	for i := range results {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			results[i] = client(i, listener.Addr().String())
		}(i)
	}
	group.Wait()
	for _, text := range results {
		log.WriteString(text)
	}
	log.Flush()
}
