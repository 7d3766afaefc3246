package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

const examplePlans = `{"free": ["day 100/24h"], "pro": ["day 10000/1d", "burst 10/1s"], "internal": []}`

// plansFile writes a file for --plans.
func plansFile(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "plans.json")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

func TestPlansFromFile(t *testing.T) {
	plans, err := plansFromFile(plansFile(t, examplePlans))
	require.NoError(t, err)
	require.Equal(t, map[string][]keystore.Limit{
		"free":     {{Name: "day", Requests: 100, Window: day}},
		"pro":      {{Name: "day", Requests: 10_000, Window: day}, {Name: "burst", Requests: 10, Window: time.Second}},
		"internal": nil,
	}, plans)
}

func TestPlansThatAreRefused(t *testing.T) {
	for text, says := range map[string]string{
		"":                               "not JSON, see its line 1",
		"{\n\"a\": []\n\"b\": []}":       "not JSON, see its line 3",
		`{"a": ["day 1/1d"],}`:           "not JSON, see its line 1",
		`{"a": ["day 1/1d"]} {}`:         "not JSON, see its line 1",
		`["day 1/1d"]`:                   "not an object like",
		`null`:                           "not an object like",
		`{"a": null}`:                    "plan a: its limits are not an array of texts",
		`{"a": "day 1/1d"}`:              "plan a: its limits are not an array of texts",
		`{"a": [null]}`:                  "plan a: its limits are not an array of texts",
		`{"a": [{"name": "day"}]}`:       "plan a: its limits are not an array of texts",
		`{"a": ["day 1/1d", "day 1"]}`:   "plan a: limit 2: ",
		`{"a": ["day 0/1d"]}`:            "plan a: limit 1: ",
		`{"a": [], "a": []}`:             "plan a is there twice",
		`{"a": ["x 1/1d", "x 2/1h"]}`:    `two of them are called "x"`,
		`{"hunter2 ": []}`:               "the name of a plan is",
		`{"a": ["` + planToken + `"]}`:   "plan a: limit 1: ",
		`{"` + planToken + `": []}`:      "the name of a plan is",
		planToken:                        "not JSON",
		strings.Repeat(" ", 1<<20) + "1": "longer than 1 MiB",
	} {
		u := newTool(t, "memory://")
		u.env["KEYSTORE_PLANS"] = plansFile(t, text)
		r := u.run("list")
		require.Equal(t, int(statusUsage), r.code, "%.60s: %s", text, r.errOut)
		require.Contains(t, r.errOut, says, "%.60s", text)
		require.NotContains(t, r.errOut, planToken[20:40])
		require.NotContains(t, r.errOut, "hunter2")
		require.NotContains(t, r.errOut, "plans.json")
	}
	u := newTool(t, "memory://")
	for _, path := range []string{filepath.Join(t.TempDir(), "hunter2"), t.TempDir()} {
		r := u.run("list", "--plans", path)
		require.Equal(t, int(statusFailed), r.code)
		require.Contains(t, r.errOut, "keystore: --plans: the file: ")
		require.NotContains(t, r.errOut, path)
	}
	require.Equal(t, int(statusUsage), u.run("list", "--plans", "").code)
}

// planToken has the form of a token.
const planToken = "ks_0abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01"

func FuzzParsePlans(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		plans, err := parsePlans(text)
		if err != nil {
			require.Nil(t, plans)
			require.NotContains(t, err.Error(), "\n")
			return
		}
		for name, limits := range plans {
			require.Regexp(t, planName, name)
			for _, l := range limits {
				again, err := keystore.ParseLimit(l.String())
				require.NoError(t, err)
				require.Equal(t, l, again)
			}
		}
	})
}

// TestPlansFromAPipe, which can be read once only: --plans <(jq .plans config.json).
func TestPlansFromAPipe(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("skipped: /proc/self/fd names open files on Linux")
	}
	out, in, err := os.Pipe()
	require.NoError(t, err)
	defer out.Close()
	_, err = in.WriteString(examplePlans)
	require.NoError(t, err)
	require.NoError(t, in.Close())
	u := newTool(t, newStore(t, nil))
	u.must(t, "generate", "--owner", "alice", "--plan", "free", "--plans", fmt.Sprint("/proc/self/fd/", out.Fd()))
}
