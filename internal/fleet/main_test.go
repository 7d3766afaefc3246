package fleet

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets tests start this binary as a process of its own, see child. The tests
// run side by side, because they mostly wait for time to pass.
func TestMain(m *testing.M) {
	if text := os.Getenv(jobVariable); text != "" {
		if err := runJob(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		if err := flag.Set("test.parallel", "4"); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

func runJob(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	switch j.Role {
	case "changer":
		return serveRequests(openChanger(j))
	case "reader":
		return serveRequests(openReader(j))
	}
	return fmt.Errorf("no role %q", j.Role)
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
