package redistest

import (
	"context"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
)

var usedCPU = regexp.MustCompile(`used_cpu_(?:user|sys):([0-9.]+)`)

// CPU is the CPU time that Redis has used, in µs: it depends less on what else the
// machine does than the time of its commands.
func CPU(t testing.TB, rdb *redis.Client) (us float64) {
	t.Helper()
	for _, found := range usedCPU.FindAllStringSubmatch(rdb.Info(context.Background(), "cpu").Val(), -1) {
		seconds, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		us += seconds * 1e6
	}
	return us
}

// OwnCPU is the CPU time that this process has used, in µs.
func OwnCPU(t testing.TB) float64 {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1000
}
