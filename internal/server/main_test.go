package server

import (
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	logging.Disable() // go-redis says of each dial that fails what its caller is told
	goleak.VerifyTestMain(m)
}

// sized is how much of something a test does, in its short and its long form.
func sized[T any](shortForm, longForm T) T {
	if os.Getenv("KEYSTORE_TEST_LONG") == "1" {
		return longForm
	}
	return shortForm
}
