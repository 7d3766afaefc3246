//go:build unix

package testserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const parentVariable = "KEYSTORE_TEST_TESTSERVER_PARENT"

// TestNothingIsLeft starts this binary as a test process that starts servers, and
// looks for them when it has ended, of itself or by SIGKILL.
func TestNothingIsLeft(t *testing.T) {
	if os.Getenv(parentVariable) != "" {
		startAndWait(t)
		return
	}
	redisServer(t)
	for name, end := range map[string]func(cmd *exec.Cmd, stdin io.Closer){
		"normal end": func(cmd *exec.Cmd, stdin io.Closer) { _ = stdin.Close() },
		"SIGKILL":    func(cmd *exec.Cmd, stdin io.Closer) { _ = cmd.Process.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			temporary := t.TempDir()
			cmd := exec.Command(os.Args[0], "-test.run=^TestNothingIsLeft$")
			cmd.Env = append(os.Environ(), parentVariable+"=1", "TMPDIR="+temporary, "KEYSTORE_TEST_REDIS_URL=")
			cmd.Stderr = os.Stderr
			stdin, err := cmd.StdinPipe()
			require.NoError(t, err)
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			var own, common int
			nginx := "" // its workers are processes besides the one that was started
			for output := bufio.NewScanner(stdout); common == 0 && output.Scan(); {
				if addr, found := strings.CutPrefix(output.Text(), "nginx: "); found {
					nginx = addr
					require.NoError(t, dial(nginx))
				}
				if ids, found := strings.CutPrefix(output.Text(), "servers: "); found {
					_, err := fmt.Sscan(ids, &own, &common)
					require.NoError(t, err)
				}
			}
			require.NotZero(t, own)
			require.NotZero(t, common)
			require.True(t, alive(own))
			require.True(t, alive(common))

			end(cmd, stdin)
			_, _ = io.Copy(io.Discard, stdout)
			_ = cmd.Wait()
			for _, pid := range []int{own, common} {
				await(t, "the server has ended", func() error {
					if alive(pid) {
						return fmt.Errorf("process %d is still there", pid)
					}
					return nil
				})
			}
			await(t, "nginx and its workers have ended", func() error {
				if nginx != "" && dial(nginx) == nil {
					return errors.New("somebody still listens")
				}
				return nil
			})
			if name == "normal end" {
				left, err := os.ReadDir(temporary)
				require.NoError(t, err)
				require.Empty(t, left, "files")
			}
		})
	}
}

// startAndWait is the test process.
func startAndWait(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err == nil {
		addr := FreeAddr(t)
		StartNginx(t, addr, answering(addr, "here"))
		fmt.Println("nginx:", addr)
	}
	RedisURL(t)
	own := StartRedis(t)
	fmt.Println("servers:", own.process.pid(), shared.process.pid())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
