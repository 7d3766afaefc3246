package limits

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long anything may take that must happen.
const patience = time.Minute

// TestMain lets tests start this binary as a process of its own, see process. The
// tests run side by side, because they mostly wait for servers.
func TestMain(m *testing.M) {
	if job := os.Getenv(jobVariable); job != "" {
		if err := runJob(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// long reports whether the long forms are asked for.
func long() bool { return os.Getenv("KEYSTORE_TEST_LONG") == "1" }

// sized is how much of something a test does, in its short and its long form.
func sized[T any](shortForm, longForm T) T {
	if long() {
		return longForm
	}
	return shortForm
}
