package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// everyCommand yields the words of each command of the tool.
func everyCommand(parent *cobra.Command, words []string, yield func(*cobra.Command, []string)) {
	for _, c := range parent.Commands() {
		path := append(slices.Clone(words), c.Name())
		yield(c, path)
		everyCommand(c, path, yield)
	}
}

// wrongPlaces are command lines that hold the text where no token belongs, but
// for flags that skip names.
func wrongPlaces(text string, skip func(flag string) bool) [][]string {
	lines := [][]string{
		{text}, {"--" + text}, {"-" + text}, {"--token=" + text}, {"--json", text}, {text, "list"}, {"help", text}, {"--", text},
		{"__complete", "list", text},
	}
	everyCommand((&app{}).root(), nil, func(c *cobra.Command, words []string) {
		add := func(args ...string) { lines = append(lines, append(slices.Clone(words), args...)) }
		add(text)
		add("0000000000000000", text)
		add(text, text)
		add("--", text)
		add("--" + text)
		add("--token=" + text)
		add("--" + text + "=1")
		add("-" + text)
		flags := func(f *pflag.Flag) {
			if !skip(f.Name) {
				add("--"+f.Name, text)
				add("--" + f.Name + "=" + text)
				add("0000000000000000", "--"+f.Name, text)
			}
		}
		c.Flags().VisitAll(flags)
		c.InheritedFlags().VisitAll(flags)
		c.Root().PersistentFlags().VisitAll(flags)
	})
	return lines
}

func TestNoTokenIsEchoed(t *testing.T) {
	t.Chdir(t.TempDir())
	u := newTool(t, "memory://")
	_, token := u.generate(t)
	secret := token[len("ks_")+16 : len(token)-6]
	lines := wrongPlaces(token, func(string) bool { return false })
	for _, glued := range []string{"x=" + token, "orders:" + token, "badger:///" + token + "/keys"} {
		lines = append(lines, []string{"generate", "--owner", "a", "--metadata", glued}, []string{"lookup", "--scope", glued}, []string{"list", "--store", glued})
	}
	require.Greater(t, len(lines), 500)
	for _, args := range lines {
		for _, args := range [][]string{args, append([]string{"--json"}, args...)} {
			r := u.run(args...)
			shown := strings.Join(args, " ")
			require.Equal(t, int(statusUsage), r.code, shown)
			require.NotContains(t, r.out+r.errOut, secret, shown)
			require.Empty(t, r.out, shown)
		}
	}
	require.Empty(t, files(t, "."))
}

// A token with a letter too many is not recognised, so here it is the errors
// themselves that must be silent about it.
func TestNoArgumentIsEchoed(t *testing.T) {
	t.Chdir(t.TempDir())
	u := newTool(t, "memory://")
	_, token := u.generate(t)
	text := token + "X"
	kept := []string{"owner", "name", "description", "scope", "metadata", "reason", "add-scope"} // what the key shows is no error
	kept = append(kept, "socket", "audit-log")                                                   // files that serve makes, and then it serves
	refused := 0
	for _, args := range wrongPlaces(text, func(flag string) bool { return slices.Contains(kept, flag) }) {
		if args[0] == "__complete" { // the shells' scripts discard its errors, which are cobra's
			continue
		}
		for _, args := range [][]string{args, append([]string{"--json"}, args...)} {
			r := u.run(args...)
			require.NotContains(t, r.out+r.errOut, token, strings.Join(args, " "))
			if r.code != 0 {
				refused++
			}
		}
	}
	require.Greater(t, refused, 500)
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	return found
}

func TestNoPepperIsEchoed(t *testing.T) {
	const secret = "aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMmh1bnRlcjI"
	u := newTool(t, "memory://")
	for _, ring := range []string{
		secret, "a:" + secret + "?", "a:" + secret[:8], secret + ":a", secret + "=:" + secret + "=", ":" + secret, "a:" + secret + "=\na:" + secret + "=",
		"a b:" + secret + "=", "a:" + secret + "=\n" + secret[:20] + ":" + secret[:4], "a:b:" + secret, "\x1b" + secret, strings.Repeat(secret, 2000),
	} {
		u.env["KEYSTORE_PEPPER"] = ring
		r := u.run("list")
		require.Equal(t, int(statusUsage), r.code, ring)
		require.NotContains(t, r.errOut, secret[:8], ring)

		file := filepath.Join(t.TempDir(), "pepper")
		require.NoError(t, os.WriteFile(file, []byte(ring), 0o600))
		r = u.run("list", "--pepper-file", file)
		require.NotZero(t, r.code, ring)
		require.NotContains(t, r.errOut, secret[:8], ring)
		require.NotContains(t, r.errOut, file)
	}
	u.env["KEYSTORE_PEPPER"] = "a:" + secret + "=,b:" + secret + "=\n"
	u.must(t, "list")
}

func TestNoURLIsEchoed(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "hunter2")
	require.NoError(t, os.WriteFile(folder, nil, 0o600)) // no folder
	missing := "badger://" + slashed(filepath.Join(t.TempDir(), "hunter2"))
	for _, url := range []string{
		"badger://user:hunter2@host/x", "badger://" + slashed(folder), "badger://" + slashed(folder) + "/below", "badger:///%zz-hunter2",
		"badger:///x?hunter2=1", "badger:///x?create=hunter2", "badger:///x#hunter2", "hunter2://x", "hunter2", "badger:hunter2",
		"memory://hunter2", "badger:///x?encryption_key_file=/hunter2", missing,
	} {
		for _, args := range [][]string{{"list"}, {"generate", "--owner", "a"}, {"backup", "-"}, {"restore", "-"}} {
			if url == missing && args[0] != "list" && args[0] != "backup" {
				continue // which would make it
			}
			u := newTool(t, url)
			r := u.run(args...)
			require.Contains(t, []int{int(statusFailed), int(statusUsage), int(statusUnavailable)}, r.code, "%s %v: %s", url, args, r.errOut)
			require.NotContains(t, r.out+r.errOut, "hunter2", "%s %v", url, args)
			u.env = map[string]string{}
			r = u.run(append(args, "--store", url)...)
			require.NotContains(t, r.out+r.errOut, "hunter2", "%s %v", url, args)
		}
	}
}

func TestTokensInFilesAreMadeOnlyWhenTheyCanBeWritten(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	closed, err := os.Create(filepath.Join(t.TempDir(), "token"))
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	ks := keystoreOf(t)
	token, _, err := ks.Generate(u.ctx, keyParams("alice"))
	require.NoError(t, err)
	err = writeToken(closed, token)
	require.ErrorContains(t, err, "key "+token.ID()+" has a new token, which is lost")
	require.NotContains(t, err.Error(), token.Reveal()[20:])
}

// brokenPipe is an output whose reader has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestOutputThatCannotBeWrittenIsAFailure(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	id, token := u.generate(t)
	token2 := filepath.Join(t.TempDir(), "token")
	u.env["KEYSTORE_PLANS"] = plansFile(t, examplePlans)
	for _, args := range [][]string{
		{"get", id}, {"list"}, {"list", "--json"}, {"list", "--limit", "1"}, {"generate", "--owner", "a"}, {"generate", "--owner", "a", "--json"},
		{"rotate", id, "--grace", "1h"}, {"rotate", id, "--grace", "1h", "--token-file", token2}, {"digests"}, {"version"}, {"purge"}, {"lookup"}, {"update", id, "--name", "x"},
		{"limits", id}, {"limits", id, "--json"}, {"usage", id}, {"usage", id, "--csv"}, {"plans"}, {"plans", "--json"}, {"revoke", id},
	} {
		var errOut bytes.Buffer
		code := run(u.ctx, args, system{strings.NewReader(token), brokenPipe{}, &errOut, func(name string) string { return u.env[name] }})
		require.Equal(t, int(statusFailed), code, args)
		require.Contains(t, errOut.String(), "standard output: ", args)
		if (args[0] == "generate" || args[0] == "rotate") && len(args) < 6 && !slices.Contains(args, "--token-file") {
			require.Contains(t, errOut.String(), "rotate or revoke the key", args)
		}
	}
	require.FileExists(t, token2)
}
