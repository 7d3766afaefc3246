package testserver

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// ferretDBProgram returns the path of the program, which buildFerretDB makes once
// in a process.
func ferretDBProgram(tb testing.TB) string {
	tb.Helper()
	program, err := buildFerretDB()
	if err != nil {
		Missing(tb, "mongo", "FerretDB cannot be built from internal/testserver/ferretdb; "+
			"that needs the go command and, the first time, a network to download modules. "+
			"A server for the MongoDB protocol in KEYSTORE_TEST_MONGODB_URL serves most tests instead: "+err.Error())
	}
	return program
}

// buildFerretDB lets the go command build the program and keep it in its cache.
// The first time takes a minute or two, later ones 0.2 s. Processes that do so at
// once take turns, for each would compile everything.
var buildFerretDB = sync.OnceValues(func() (string, error) {
	dir, err := ferretDBModule()
	if err != nil {
		return "", err
	}
	source, err := os.Open(filepath.Join(dir, "main.go")) // not go.mod, which the go command locks itself
	if err != nil {
		return "", err
	}
	defer source.Close() //nolint:errcheck // it is not read
	flock(source)

	cmd := exec.Command("go", "tool", "-n", "ferretdb") // -n: say what would be run, and build it
	cmd.Dir = dir
	// Flags for the caller's program, such as -race, would have this one built anew.
	cmd.Env = append(withoutGoSettings(os.Environ()), "GOFLAGS=-mod=readonly", "GOWORK=off")
	var problems bytes.Buffer
	cmd.Stderr = &problems
	program, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, bytes.TrimSpace(problems.Bytes()))
	}
	return string(bytes.TrimSpace(program)), nil
})

// ferretDBModule returns the folder of the program's module, which lies beside
// this file.
func ferretDBModule() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		return filepath.Join(filepath.Dir(file), "ferretdb"), nil
	}
	// Tests that were built with -trimpath do not know where their source is.
	here, err := exec.Command("go", "list", "-f", "{{.Dir}}", "example.com/keystore/internal/testserver").Output()
	if err != nil {
		return "", fmt.Errorf("finding the source: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(here)), "ferretdb"), nil
}

// withoutGoSettings leaves out what tells the go command how, and Go programs
// under what rules, the tests are to run. FerretDB is no part of what they test.
func withoutGoSettings(environ []string) []string {
	var rest []string
	for _, setting := range environ {
		switch name, _, _ := strings.Cut(setting, "="); name {
		case "GOFLAGS", "GODEBUG", "GOOS", "GOARCH", "GOEXPERIMENT", "GOFIPS140", "GOWORK":
		default:
			rest = append(rest, setting)
		}
	}
	return rest
}
