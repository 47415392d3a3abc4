//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "bench: the benchmark needs Linux: it reads CPU time and memory from /proc, and its load generator uses epoll")
	os.Exit(1)
}
