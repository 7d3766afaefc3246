package audit

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package if a test leaves a goroutine behind. With the
// variable set the process is the child of TestKill.
func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		writeForEver(path)
	}
	goleak.VerifyTestMain(m)
}
