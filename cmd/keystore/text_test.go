package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// nasty are texts that would do something to a terminal or a table.
var nasty = []string{
	"\x1b[2J", "a\nb", "a\r", "a\tb", "\a", "\x7f", "\u0080", "\u009b31m", "\u202eevil", "\u2066x", "\u200b", "\u2028", "\ufeff",
	"\xff", "a\xc0\xafb", "active  bob", " lead", "trail ", "-", `"quoted"`, "\U000e0041",
}

func TestShown(t *testing.T) {
	for _, text := range []string{"alice", "a b", "Łukasz", "日本", "a-b", "emoji 🔑", `in "the" middle`} {
		require.Equal(t, text, shown(text))
	}
	require.Equal(t, "-", shown(""))
	for _, text := range nasty {
		got := shown(text)
		require.True(t, strings.HasPrefix(got, `"`) && strings.HasSuffix(got, `"`), "%q", text)
		require.True(t, plain(got), "%q", got)
		require.True(t, plain(escaped(text)), "%q", text)
	}
}

func TestJSONActsOnNoTerminal(t *testing.T) {
	for _, text := range nasty {
		line := jsonLine(map[string]string{"x": text, "y": "<&>"})
		require.True(t, plain(strings.TrimSuffix(string(line), "\n")), "%q", line)
		require.Contains(t, string(line), "<&>")
		var back map[string]string
		require.NoError(t, json.Unmarshal(line, &back))
		if utf8.ValidString(text) {
			require.Equal(t, text, back["x"])
		}
	}
}

func TestNothingInAKeyForgesOutput(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	ks := keystoreOf(t)
	for _, text := range nasty {
		if !utf8.ValidString(text) {
			continue
		}
		p := keystore.KeyParams{Owner: text, Name: text, Description: text, Metadata: map[string]string{text: text}}
		_, key, err := ks.Generate(t.Context(), p)
		require.NoError(t, err)
		_, err = ks.Revoke(t.Context(), key.ID, text)
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSuffix(u.must(t, "get", key.ID), "\n"), "\n")
		require.Len(t, lines, 19)
		for _, line := range lines {
			require.True(t, plain(line), "%q", line)
		}
		require.True(t, plain(strings.TrimSpace(u.must(t, "get", key.ID, "--json"))))
	}
	lines := strings.Split(strings.TrimSuffix(u.must(t, "list"), "\n"), "\n")
	require.Len(t, lines, 1+len(nasty)-2)
	for _, line := range lines[1:] {
		require.True(t, plain(line), "%q", line)
		require.Contains(t, line, "  revoked  ")
	}
}

func TestLookupErrorQuotesTheOwner(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	token, _, err := keystoreOf(t).Generate(t.Context(), keyParams("\x1b[2J\nkeystore: fine"))
	require.NoError(t, err)
	u.stdin = token.Reveal()
	r := u.run("lookup", "--scope", "x")
	require.Equal(t, int(statusMissingScope), r.code)
	require.True(t, plain(strings.TrimSuffix(r.errOut, "\n")), "%q", r.errOut)
}
