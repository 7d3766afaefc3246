package testserver

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain fails the package if a server or a proxy leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
