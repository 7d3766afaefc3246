package drivertest

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main is for the TestMain of a driver's tests. It runs the tests, more of them at
// once than there are processors, because they mostly wait for servers, and fails if
// goroutines are left, but for what o ignores. In a process that [Processes] started it does what that wants.
func Main(m *testing.M, o ...goleak.Option) {
	if os.Getenv(jobVariable) != "" {
		if err := runJob(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "16"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m, o...)
}

// Long tells whether the long forms of tests are asked for.
func Long() bool { return os.Getenv("KEYSTORE_TEST_LONG") == "1" }

// Sized is how much of something a test does, in its short and its long form.
func Sized(shortForm, longForm int) int {
	if Long() {
		return longForm
	}
	return shortForm
}
