package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/audit"
)

// events reads an audit log.
func events(t *testing.T, path string) (list []keystore.Event) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	for e, err := range audit.Read(f) {
		require.NoError(t, err)
		list = append(list, e)
	}
	return list
}

func TestCommandsAreAudited(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "audit.jsonl")
	u := newTool(t, "badger://"+filepath.ToSlash(filepath.Join(dir, "store")))
	u.env["KEYSTORE_AUDIT_LOG"] = log
	id, token := u.generate(t)
	u.must(t, "disable", id)
	u.must(t, "enable", id)
	u.must(t, "revoke", id, "--reason", "lost")
	u.stdin = token
	require.Equal(t, int(statusUnauthenticated), u.run("lookup").code)
	require.Equal(t, int(statusNotFound), u.run("delete", "0000000000000000").code)

	var got []string
	for _, e := range events(t, log) {
		got = append(got, string(e.Action)+" "+string(e.Outcome)+" "+string(e.Reason)+" "+e.KeyID)
		require.True(t, strings.HasPrefix(e.Actor, "cli:") && len(e.Actor) > len("cli:"), "%q", e.Actor)
	}
	require.Equal(t, []string{
		"generate done  " + id, "disable done  " + id, "enable done  " + id, "revoke done  " + id,
		"lookup refused revoked " + id, "delete refused  0000000000000000",
	}, got)
	text, err := os.ReadFile(log)
	require.NoError(t, err)
	require.NotContains(t, string(text), token[len(token)-38:])

	r := u.run("list", "--audit-log", "-")
	require.Equal(t, int(statusUsage), r.code, "standard output is not for both")
	require.Equal(t, int(statusFailed), u.run("list", "--audit-log", filepath.Join(dir, "missing", "a.jsonl")).code)
}
