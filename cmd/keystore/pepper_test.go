package main

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var pepper32 = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

func TestParsePepper(t *testing.T) {
	for _, text := range []string{
		"a:" + pepper32, "a:" + pepper32 + "\n", "a:" + pepper32 + "\r\nb:" + pepper32 + "\r\n", "\n\na:" + pepper32 + ",\n", " a:" + pepper32 + " ",
	} {
		peppers, err := parsePepper(text)
		require.NoError(t, err, text)
		require.Equal(t, "a", peppers.KeyID(), "the first one makes new digests")
	}
	for text, want := range map[string]string{
		"":                                      "it holds no key",
		",\n, \n":                               "it holds no key",
		"a":                                     "KEY-ID:BASE64",
		":" + pepper32:                          "KEY-ID:BASE64",
		"a:" + strings.TrimRight(pepper32, "="): "not base64",
		"a:" + pepper32[:40]:                    "30 bytes",
		"a:" + pepper32 + ",a:" + pepper32:      "entry 2: its key id is given twice",
		"a b:" + pepper32:                       "a key id is not",
	} {
		_, err := parsePepper(text)
		require.ErrorContains(t, err, want, text)
	}
}

// ourErrors are all that the parser may say.
var ourErrors = regexp.MustCompile(`^(entry \d+: )?(it holds no key|its key id is given twice|it is not of the form KEY-ID:BASE64|` +
	`what follows the key id is not base64|it has \d+ bytes, fewer than 32)$|^keystore: invalid pepper: a key id is not 1 to 64 of \[A-Za-z0-9\._-\]$`)

func FuzzParsePepper(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		peppers, err := parsePepper(text)
		if err != nil {
			require.Regexp(t, ourErrors, err.Error())
			return
		}
		digest, err := peppers.Hash("token")
		require.NoError(t, err)
		require.True(t, peppers.Verify("token", digest))
	})
}
