package keystore_test

import (
	"context"
	"crypto/fips140"
	"crypto/md5" //nolint:gosec // to see that the mode refuses it
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/badger"
)

// fipsVariable marks the process that runs in FIPS 140-3 mode.
const fipsVariable = "KEYSTORE_TEST_FIPS"

// TestFIPS runs itself in a process that allows nothing but approved algorithms,
// https://go.dev/doc/security/fips140. CI runs all other tests in that mode too.
func TestFIPS(t *testing.T) {
	if os.Getenv(fipsVariable) == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestFIPS$", "-test.v")
		child.Env = append(os.Environ(), fipsVariable+"=1", "GODEBUG=fips140=only")
		output, err := child.CombinedOutput()
		require.NoError(t, err, "%s", output)
		require.Contains(t, string(output), "--- PASS: TestFIPS/hmac/badger", "the child ran the lives")
		return
	}
	require.True(t, fips140.Enforced())
	require.Panics(t, func() { md5.Sum(nil) }, "the mode has no effect")

	pepper, err := keystore.HMAC("k1", map[string][]byte{"k1": make([]byte, 32)})
	require.NoError(t, err)
	for name, hash := range map[string]keystore.Hasher{"sha256": keystore.SHA256(), "hmac": pepper} {
		for _, b := range backends {
			t.Run(name+"/"+b.name, func(t *testing.T) {
				ks := newStoreOn(t, b.open(t), keystore.Options{Hash: hash})
				liveUnderFIPS(t, ks)
			})
		}
	}
	t.Run("encrypted", func(t *testing.T) {
		b, err := badger.Open(t.TempDir(), &badger.Options{EncryptionKey: make([]byte, 32)})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		liveUnderFIPS(t, newStoreOn(t, b, keystore.Options{}))
	})
}

func liveUnderFIPS(t *testing.T, ks *keystore.Keystore) {
	ctx := context.Background()
	first, key := generate(t, ks)
	second, _, err := ks.Rotate(ctx, key.ID, time.Hour, nil)
	require.NoError(t, err)
	for _, token := range []string{first, second.Reveal()} {
		got, err := ks.Lookup(ctx, token)
		require.NoError(t, err)
		require.Equal(t, key.ID, got.ID)
	}
	_, err = ks.Lookup(ctx, first[:len(first)-1]+"~")
	require.ErrorIs(t, err, keystore.ErrUnauthenticated)
	_, err = ks.Revoke(ctx, key.ID, "over")
	require.NoError(t, err)
	_, err = ks.Lookup(ctx, second.Reveal())
	require.ErrorIs(t, err, keystore.ErrRevoked)
}
