package testserver

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Nginx is an nginx of one test: a master process in the foreground and its workers.
type Nginx struct {
	*Server
}

// StartNginx starts nginx in a temporary folder that holds the files given by their
// names. nginx.conf among them is the configuration; it listens on addr, says "daemon
// off" and names only files within the folder, relative to it. It says nothing of a
// user: nginx keeps that of the test.
func StartNginx(tb testing.TB, addr string, files map[string]string) *Nginx {
	tb.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		Missing(tb, "nginx", "there is no nginx in PATH (Debian: apt-get install nginx; macOS: brew install nginx)")
	}
	dir := tb.TempDir()
	args := []string{"-p", dir, "-c", "nginx.conf", "-e", "stderr"}
	if os.Getuid() == 0 {
		args = append(args, "-g", "user root;") // or its workers could not read the folder
	}
	n := &Nginx{newServer(tb, Program{Path: program, Args: args, Dir: dir, Addr: addr})}
	tb.Cleanup(func() {
		if n.process != nil {
			n.Stop() // not by force: workers without their master stay as zombies where nobody reaps orphans
		}
	})
	writeFiles(tb, dir, files)
	n.Start()
	return n
}

// Reload has the server read its configuration again, after files were written anew;
// one that is wrong fails the test. New workers serve what comes from then on, and the
// old ones finish what they have begun: somebody may still be answered by those when
// Reload returns.
func (n *Nginx) Reload(files map[string]string) {
	n.tb.Helper()
	writeFiles(n.tb, n.Dir(), files)
	check := exec.Command(n.program.Path, append(n.program.Args, "-t")...)
	check.Dir = n.Dir()
	if out, err := check.CombinedOutput(); err != nil {
		n.tb.Fatalf("the new configuration of nginx: %v\n%s", err, out)
	}
	if err := n.running().cmd.Process.Signal(syscall.SIGHUP); err != nil {
		n.tb.Fatalf("reloading nginx: %v", err)
	}
}
