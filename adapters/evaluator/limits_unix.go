//go:build unix

package evaluator

import (
	"time"

	"golang.org/x/sys/unix"
)

// limitMemory bounds the memory of this process: what cannot be had ends it. One large value is
// there at once, before anybody can have looked.
func limitMemory(bytes uint64) {
	for _, resource := range []int{unix.RLIMIT_DATA, unix.RLIMIT_CORE} {
		limit := unix.Rlimit{}
		if resource == unix.RLIMIT_DATA {
			limit = unix.Rlimit{Cur: bytes, Max: bytes}
		}
		_ = unix.Setrlimit(resource, &limit) // the watch on the heap is there still
	}
}

// cpuTime is the processor time that this process has taken.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
