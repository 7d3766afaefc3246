package redis_test

import (
	"testing"

	"example.com/keystore/conformance"
	"example.com/keystore/internal/testserver"
)

func TestSentinelConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, openNamed(testserver.StartSentinel(t).URL(), nil))
}
