package badger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore/badger"
)

// TestTheEncryptionKeyIsACopy: a caller may wipe its key at once, and Badger
// uses it again when it rotates its data keys, ten days later.
func TestTheEncryptionKeyIsACopy(t *testing.T) {
	key := []byte("0123456789abcdef")
	o := &badger.Options{EncryptionKey: key}
	opts, err := badger.DatabaseOptions(t.TempDir(), o)
	require.NoError(t, err)
	clear(key)
	require.Equal(t, "0123456789abcdef", string(opts.EncryptionKey))
}
