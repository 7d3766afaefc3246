// Package manage_test measures what changes and listings cost, on every backend,
// beside what the bare driver takes for the same bytes, in the same run:
//
//	go test -bench . ./manage
//
// Each line has the time of both per operation (wall time over all callers), and
// the median ratio of two turns that followed each other.
package manage_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
