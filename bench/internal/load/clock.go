//go:build linux

package load

import (
	"time"

	"golang.org/x/sys/unix"
)

// MachineTime is when something happened that Now was the time of, on a clock that
// all processes of this machine share.
func MachineTime(now time.Duration) time.Duration {
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		panic(err) // every Linux has this clock
	}
	return time.Duration(clock.Nano()) - (Now() - now)
}
