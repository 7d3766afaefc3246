package redis_test

import (
	"testing"

	"example.com/keystore/backend"
)

// openAll opens n handles on the store of a URL.
func openAll(t testing.TB, rawURL string, n int) []backend.Backend {
	t.Helper()
	handles := make([]backend.Backend, n)
	for i := range handles {
		handles[i] = openURL(t, rawURL)
	}
	return handles
}
