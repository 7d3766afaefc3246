package adminapi

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// TestDocumentedCommands runs the commands of docs/adminapi.md as they stand.
func TestDocumentedCommands(t *testing.T) {
	if err := exec.Command("curl", "--json", "{}", "--version").Run(); err != nil {
		t.Skip("this needs curl, 7.82 or later: apt-get install curl")
	}
	text, err := os.ReadFile("../docs/adminapi.md")
	require.NoError(t, err)
	s := newSite(t, nil, keystore.Options{Plans: somePlans}, nil)
	admin := s.admin()
	server := s.listen(0)
	var script strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		// A status that is no success fails the command.
		script.WriteString(strings.ReplaceAll(block[1], "curl -sS", "curl -sS --fail-with-body"))
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-eux", "-c", script.String())
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "API="+server.URL+"/v1", "KEYSTORE_TOKEN="+admin)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), `"description":"nightly builds"`)
	assert.Contains(t, string(out), `{"name":"burst","requests":10,"window_seconds":1,"remaining":10,`)
	assert.Contains(t, string(out), `{"plans":[{"name":"free",`)
	assert.Contains(t, string(out), `{"usage":[]}`)
	assert.Contains(t, string(out), `"revoke_reason":"left the company"`)
	assert.Contains(t, string(out), `{"valid":false,"code":"unknown_key"}`) // it was deleted before
}

// TestDocumentedCodes: the page has every code that a problem can have here.
func TestDocumentedCodes(t *testing.T) {
	text, err := os.ReadFile("../docs/adminapi.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(text), "## Errors")
	for _, file := range []string{"problem.go", "request.go", "decode.go", "precondition.go", "../httpauth/failure.go"} {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, code := range regexp.MustCompile(`(?m)Code: +"([a-z_]+)"|^	Code[A-Z]\w+ += "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1) {
			if name := code[1] + code[2]; name != "misconfigured" { // no scope is asked for that could be malformed
				assert.Contains(t, table, "`"+name+"`", file)
			}
		}
	}
}
