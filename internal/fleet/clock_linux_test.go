package fleet

import "golang.org/x/sys/unix"

// now is the time by a clock that all processes of the machine share and nobody sets,
// in nanoseconds: CLOCK_MONOTONIC, which is also what Go's monotonic time comes from.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}
