// Package lookup_test measures what a lookup costs, on every backend, beside what
// the bare driver takes to read the same bytes, in the same run:
//
//	go test -bench . ./lookup
//
// Each line has the time of both per operation (wall time over all callers), and
// the median ratio of two turns that followed each other.
package lookup_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
