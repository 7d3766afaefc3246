package testserver

import (
	"os/exec"
	"testing"
)

// Caddy is a caddy of one test.
type Caddy struct {
	*Server
	admin string
}

// StartCaddy starts caddy with a Caddyfile that listens on addr, without TLS, and
// on admin for its own API.
func StartCaddy(tb testing.TB, addr, admin, caddyfile string) *Caddy {
	tb.Helper()
	program, err := exec.LookPath("caddy")
	if err != nil {
		Missing(tb, "caddy", "there is no caddy in PATH (Debian: apt-get install caddy; macOS: brew install caddy)")
	}
	dir := tb.TempDir()
	c := &Caddy{admin: admin, Server: newServer(tb, Program{
		Path: program, Args: []string{"run", "--config", "Caddyfile", "--adapter", "caddyfile"},
		Env: []string{"HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}, // it keeps files there
		Dir: dir, Addr: addr,
	})}
	writeFiles(tb, dir, map[string]string{"Caddyfile": caddyfile})
	c.Start()
	return c
}

// Reload gives the server another Caddyfile, which is in force when Reload returns;
// one that is wrong fails the test.
func (c *Caddy) Reload(caddyfile string) {
	c.tb.Helper()
	writeFiles(c.tb, c.Dir(), map[string]string{"Caddyfile": caddyfile})
	cmd := exec.Command(c.program.Path, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", c.admin)
	cmd.Dir = c.Dir()
	if out, err := cmd.CombinedOutput(); err != nil {
		c.tb.Fatalf("reloading caddy: %v\n%s", err, out)
	}
}
