package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/internal/testserver"
)

// The commands of docs/forward-auth.md work as they are written, but for ports and the
// folder, which are the test's own.
func TestPage(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("there is no " + tool + " in PATH (Debian: apt-get install " + tool + ")")
		}
	}
	if _, err := exec.LookPath("nginx"); err != nil {
		testserver.Missing(t, "nginx", "there is no nginx in PATH (Debian: apt-get install nginx; macOS: brew install nginx)")
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "forward-auth.md"))
	require.NoError(t, err)
	// A process of the page that outlives a failure would keep ports and this folder.
	script := "set -e\ntrap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
	blocks := strings.Split(string(page), "```sh\n")[1:]
	require.Len(t, blocks, 5)
	for _, block := range blocks {
		commands, _, ended := strings.Cut(block, "```\n")
		require.True(t, ended)
		script += commands
	}

	folder := filepath.Join(t.TempDir(), "f") // it removes it
	conf := t.TempDir()
	proxy, keystore, app := testserver.FreeAddr(t), testserver.FreeAddr(t), testserver.FreeAddr(t)
	for name, text := range nginxFiles(t, proxy, keystore, app) {
		require.NoError(t, os.WriteFile(filepath.Join(conf, name), []byte(text), 0o600))
	}
	replace := func(old, new string) {
		t.Helper()
		require.Contains(t, script, old)
		script = strings.ReplaceAll(script, old, new)
	}
	replace("go build -o /tmp/forwardauth/ "+strings.Join(programs, " "), "cp "+filepath.Dir(build(t))+"/* /tmp/forwardauth") // built as written, once
	replace("/tmp/forwardauth", folder)
	replace("$PWD/examples/forwardauth/nginx.conf", conf+"/nginx.conf")
	replace("127.0.0.1:8000", proxy)
	replace("127.0.0.1:8080", keystore)
	replace("keystore serve", "keystore serve --listen "+keystore)
	replace(folder+"/forwardauth &", folder+"/forwardauth "+app+" &")
	if os.Getuid() == 0 {
		replace("-e stderr", "-e stderr -g 'user root;'") // its workers could not read the test's folder
	}
	cmd := exec.Command("bash", "-c", script)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	for _, want := range []string{
		`{"status":"ready",`, "\nok\n",
		"HTTP/1.1 401 Unauthorized\r\n", `ww-Authenticate: Bearer realm="keystore"`,
		"GET /orders/1, 0 bytes of body\nkey ", " of alice\nscopes: orders:read\n",
		"HTTP/1.1 403 Forbidden\r\n", `error="insufficient_scope"`,
		`RateLimit: "day";r=1;t=`, `RateLimit: "day";r=0;t=`, `RateLimit-Policy: "day";q=2;w=86400`, "HTTP/1.1 429 Too Many Requests\r\n", "\r\nRetry-After: ",
	} {
		assert.Contains(t, string(out), want)
	}
	assert.NoDirExists(t, folder)
}
