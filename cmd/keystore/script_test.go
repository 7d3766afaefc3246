package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/badger"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"keystore": main,
		"holder":   holder,
	})
}

// TestScripts runs testdata/script, one file per command. Besides the commands
// of testscript they have:
//
//	exit CODE keystore ARGS…    runs a program, which must end with this code
//	json [stderr] PATH REGEXP   the last JSON line of the output has this at PATH
//	keep [stderr] PATH NAME     sets the variable NAME to what is at PATH
//	hold DIR                    has another process open the folder, until release
//	release                     ends that process
//	mode FILE PERM              the file has these permissions
//	envfile NAME FILE           writes the value of a variable and a newline
//	lookups FILE TIME N [SCOPE] a program looks the token of a file up, N times, its clock
//	                            at TIME, and ends
//	crlf FILE NEW               copies a file with the line ends of Windows
//	cut FILE NEW                copies a file without its last byte
//	glob-none PATTERN           no file has such a name
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("XDG_DATA_HOME", filepath.Join(env.WorkDir, "data"))
			env.Setenv("LocalAppData", filepath.Join(env.WorkDir, "data"))
			env.Setenv("BASE", "badger://"+slashed(env.WorkDir))
			env.Setenv("STORE", "badger://"+slashed(filepath.Join(env.WorkDir, "store"))+"?sync=0") // for speed
			env.Setenv("GORACE", "atexit_sleep_ms=0")                                               // with -race each process would sleep for a second at its end
			env.Setenv("FAULTY", "faulty://"+slashed(filepath.Join(env.WorkDir, "store")))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exit":    scriptExit,
			"json":    scriptJSON,
			"keep":    scriptKeep,
			"hold":    scriptHold,
			"release": scriptRelease,
			"mode":    scriptMode,
			"envfile": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(ts.Getenv(args[0])+"\n"), 0o600))
			},
			"lookups": scriptLookups,
			"crlf":    copyAs(func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }),
			"cut":     copyAs(func(text string) string { return text[:len(text)-1] }),
			"glob-none": func(ts *testscript.TestScript, _ bool, args []string) {
				if found, _ := filepath.Glob(ts.MkAbs(args[0])); len(found) > 0 {
					ts.Fatalf("%v", found)
				}
			},
		},
	})
}

// slashed is a path as it stands in a URL.
func slashed(path string) string {
	path = filepath.ToSlash(path)
	if path[0] != '/' {
		path = "/" + path
	}
	return path
}

func scriptExit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exit CODE program [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var failed *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &failed):
		got = failed.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
	if got != 0 && ts.ReadFile("stderr") == "" {
		ts.Fatalf("exit code %d without a word on standard error", got)
	}
}

func copyAs(edit func(string) string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(edit(ts.ReadFile(args[0]))), 0o600))
	}
}

// outputAt takes the optional word stderr from args and returns what the last
// JSON line of that stream has at the path, and the other argument.
func outputAt(ts *testscript.TestScript, args []string) (value, rest string) {
	stream := "stdout"
	if len(args) == 3 && args[0] == "stderr" {
		stream, args = args[0], args[1:]
	}
	if len(args) != 2 {
		ts.Fatalf("usage: json|keep [stderr] PATH WORD")
	}
	value, err := jsonAt(ts.ReadFile(stream), args[0])
	ts.Check(err)
	return value, args[1]
}

func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	value, pattern := outputAt(ts, args)
	if regexp.MustCompile("^(?:"+pattern+")$").MatchString(value) == neg {
		ts.Fatalf("it is %s", value)
	}
}

func scriptKeep(ts *testscript.TestScript, _ bool, args []string) {
	value, name := outputAt(ts, args)
	ts.Setenv(name, value)
}

func scriptMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, not %s", args[0], got, args[1])
	}
}

// scriptHold is back when the other process has the folder open.
func scriptHold(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command("holder", ts.MkAbs(args[0]))
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	ts.Check(err)
	_, err = cmd.StdinPipe() // ends with this process, and holder with it
	ts.Check(err)
	ts.Check(cmd.Start())
	end := sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	ts.Defer(end)
	holders.Store(ts.Name(), end)
	if !bufio.NewScanner(output).Scan() {
		ts.Fatalf("the folder could not be held")
	}
}

func scriptRelease(ts *testscript.TestScript, _ bool, _ []string) {
	end, _ := holders.Load(ts.Name())
	end.(func())()
}

// scriptLookups does not care how they end.
func scriptLookups(ts *testscript.TestScript, _ bool, args []string) {
	now, err := time.Parse(time.RFC3339, args[1])
	ts.Check(err)
	n, err := strconv.Atoi(args[2])
	ts.Check(err)
	ks, err := keystore.Open(context.Background(), ts.Getenv("KEYSTORE_URL"), &keystore.Options{Now: func() time.Time { return now }})
	ts.Check(err)
	for range n {
		_, _ = ks.Lookup(context.Background(), strings.TrimSpace(ts.ReadFile(args[0])), args[3:]...)
	}
	ts.Check(ks.Close())
}

// holders has, by the name of a script, what ends the process that it started.
var holders sync.Map

// holder is a program that keeps a folder open until its standard input ends.
func holder() {
	if _, err := badger.Open(os.Args[1], nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("open")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestScriptPerCommand(t *testing.T) {
	a := &app{}
	for _, c := range a.root().Commands() {
		require.FileExists(t, filepath.Join("testdata", "script", c.Name()+".txtar"))
	}
}
