package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// docs returns docs/cli.md, which the tests below compare with the tool.
func docs(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	require.NoError(t, err)
	return string(text)
}

func fieldsOf(t *testing.T, line string) []string {
	t.Helper()
	var object map[string]any
	require.NoError(t, json.Unmarshal([]byte(line), &object))
	return slices.Sorted(maps.Keys(object))
}

func TestDocumentedKeyHasTheFieldsOfAKey(t *testing.T) {
	_, example, found := strings.Cut(docs(t), "```json\n")
	require.True(t, found)
	example, _, _ = strings.Cut(example, "\n```")
	u := newTool(t, newStore(t, nil))
	id, _ := u.generate(t)
	require.Equal(t, fieldsOf(t, example), fieldsOf(t, u.must(t, "get", id, "--json")))
}

func TestDocumentedExitCodes(t *testing.T) {
	rows := regexp.MustCompile("(?m)^\\| (\\d+) \\| (?:`([a-z_]+)`)? ?\\|").FindAllStringSubmatch(docs(t), -1)
	documented := map[status]string{}
	for _, row := range rows {
		code, err := strconv.Atoi(row[1])
		require.NoError(t, err)
		documented[status(code)] = row[2]
	}
	known := map[status]string{statusDone: ""}
	for s := statusFailed; s <= statusInterrupted; s++ {
		if s == statusFailed || s.String() != statusFailed.String() {
			known[s] = s.String()
		}
	}
	require.Equal(t, known, documented)
}

func TestEveryCommandAndFlagIsDocumented(t *testing.T) {
	text := docs(t)
	root := (&app{}).root()
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		require.Contains(t, text, "`--"+f.Name, f.Name)
	})
	for _, c := range root.Commands() {
		if c.Name() == "help" {
			continue
		}
		_, row, found := strings.Cut(text, "| `"+c.Name())
		if c.Name() == "enable" {
			_, row, found = strings.Cut(text, "`enable")
		}
		require.True(t, found, c.Name())
		row, _, _ = strings.Cut(row, "\n")
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			require.Contains(t, row, "--"+f.Name, c.Name())
		})
		if c.Name() != "completion" {
			require.NotEmpty(t, c.Example, c.Name())
			require.NotEmpty(t, c.Long, c.Name())
		}
	}
	for _, name := range []string{"KEYSTORE_URL", "KEYSTORE_PREFIX", "KEYSTORE_ACCEPT_PREFIXES", "KEYSTORE_PEPPER", "KEYSTORE_HASH", "KEYSTORE_RETENTION", "KEYSTORE_TIMEOUT", "KEYSTORE_PLANS", "KEYSTORE_AUDIT_LOG"} {
		require.Contains(t, text, "`"+name+"`")
		require.Contains(t, root.UsageString(), name)
	}
	for _, name := range []string{"KEYSTORE_COPY_FROM", "KEYSTORE_COPY_TO"} {
		require.Contains(t, text, "`"+name+"`")
		require.Contains(t, (&app{}).copy().Long, name)
	}
}

// TestJSONOfEveryCommand checks the fields that docs/cli.md names.
func TestJSONOfEveryCommand(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	key := fieldsOf(t, string(jsonLine(keyView{})))
	id, token := u.generate(t)
	other, _ := u.generate(t)
	u.env["KEYSTORE_PLANS"] = plansFile(t, examplePlans)
	ks := keystoreOf(t)
	issued, used, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "u", Limits: []keystore.Limit{{Name: "day", Requests: 1, Window: day}}})
	require.NoError(t, err)
	_, err = ks.Lookup(t.Context(), issued.Reveal())
	require.NoError(t, err)
	require.NoError(t, ks.Close())
	u.stdin = token
	for _, c := range []struct {
		args   []string
		fields []string
	}{
		{[]string{"generate", "--owner", "a"}, []string{"key", "token"}},
		{[]string{"generate", "--owner", "a", "--token-file", filepath.Join(t.TempDir(), "a")}, []string{"key"}},
		{[]string{"lookup"}, []string{"generation", "key", "limits"}},
		{[]string{"get", id}, key},
		{[]string{"list"}, key},
		{[]string{"update", id, "--name", "x"}, key},
		{[]string{"expire", id, "--in", "1h"}, key},
		{[]string{"rotate", id, "--grace", "0"}, []string{"key", "token"}},
		{[]string{"rotate", id, "--grace", "0", "--token-file", filepath.Join(t.TempDir(), "b")}, []string{"key"}},
		{[]string{"end-grace", id}, key},
		{[]string{"disable", id}, key},
		{[]string{"enable", id}, key},
		{[]string{"revoke", id}, key},
		{[]string{"revoke", "--owner", "alice"}, []string{"revoked"}},
		{[]string{"delete", other}, []string{"deleted"}},
		{[]string{"purge"}, []string{"purged"}},
		{[]string{"copy", u.env["KEYSTORE_URL"], "memory://"}, fieldsOf(t, string(jsonLine(copyView{})))},
		{[]string{"copy", "memory://", newStoreCalled("empty", nil), "--verify-only"}, fieldsOf(t, string(jsonLine(compareView{})))},
		{[]string{"digests"}, []string{"sha256$"}},
		{[]string{"plans"}, fieldsOf(t, string(jsonLine(planView{})))},
		{[]string{"limits", id}, fieldsOf(t, string(jsonLine(limitsView{})))},
		{[]string{"usage", used.ID}, []string{"allowed", "cost", "limited", "missing_scope", "start"}},
		{[]string{"version"}, []string{"go", "schemes", "version"}},
	} {
		out := u.must(t, append(c.args, "--json")...)
		for line := range strings.Lines(out) {
			require.Equal(t, c.fields, fieldsOf(t, line), c.args)
		}
	}
	for _, view := range []any{copyView{}, compareView{}} {
		for _, name := range fieldsOf(t, string(jsonLine(view))) {
			require.Contains(t, docs(t), `"`+name+`":`)
			require.Contains(t, docs(t), "`"+name+"`", "what it means")
		}
	}
	r := u.run("lookup", "--json") // superseded, and then revoked
	require.Equal(t, []string{"code", "error", "exit", "key_id", "owner", "reason"}, fieldsOf(t, r.errOut))
	u.stdin = issued.Reveal()
	r = u.run("lookup", "--json")
	require.Equal(t, []string{"code", "error", "exit", "key_id", "limits", "owner", "reason", "retry_after_seconds"}, fieldsOf(t, r.errOut))
	r = u.run("get", "x", "--json")
	require.Equal(t, []string{"code", "error", "exit"}, fieldsOf(t, r.errOut))
}

func keyParams(owner string) keystore.KeyParams { return keystore.KeyParams{Owner: owner} }
