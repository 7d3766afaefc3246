package redis_test

import (
	"testing"

	"example.com/keystore/conformance"
	"example.com/keystore/internal/testserver"
)

func TestClusterConformance(t *testing.T) {
	t.Parallel()
	conformance.Run(t, openNamed(testserver.StartCluster(t).URL(), nil))
}
