package history

import (
	"flag"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) {
	flag.Parse()
	flag.Visit(func(f *flag.Flag) { fromCommandLine[f.Name] = true })
	goleak.VerifyTestMain(m)
}

// fromCommandLine are the flags that were given when the tests began.
var fromCommandLine = make(map[string]bool)

// long tells the long form of the tests.
func long() bool { return os.Getenv("KEYSTORE_TEST_LONG") == "1" }

// testSeed is KEYSTORE_TEST_SEED, or a new one each time; it is logged.
func testSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("KEYSTORE_TEST_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		require.NoError(t, err, "KEYSTORE_TEST_SEED")
	}
	t.Logf("KEYSTORE_TEST_SEED=%d", seed)
	return seed
}

// setRapid sets one of rapid's flags for a test, as long as neither the command
// line nor its environment variable does.
func setRapid(t *testing.T, name, variable, value string) {
	t.Helper()
	if _, given := os.LookupEnv(variable); given || fromCommandLine[name] {
		return
	}
	before := flag.Lookup(name).Value.String()
	require.NoError(t, flag.Set(name, value))
	t.Cleanup(func() { require.NoError(t, flag.Set(name, before)) })
}
