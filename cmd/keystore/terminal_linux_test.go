package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"example.com/keystore"
)

// openTerminal opens a pseudo-terminal: what is written to user is typed, and
// shown has what it displays.
func openTerminal(t *testing.T) (user, terminal *os.File, shown func() string) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here")
	}
	fd := int(user.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	var mu sync.Mutex
	var display bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1024)
		for {
			n, err := user.Read(buf)
			mu.Lock()
			display.Write(buf[:n])
			mu.Unlock()
			if err != nil { // EIO once the terminal is closed
				return
			}
		}
	}()
	t.Cleanup(func() { terminal.Close(); <-done; user.Close() })
	return user, terminal, func() string { mu.Lock(); defer mu.Unlock(); return display.String() }
}

func echoes(t *testing.T, terminal *os.File) bool {
	state, err := unix.IoctlGetTermios(int(terminal.Fd()), unix.TCGETS)
	require.NoError(t, err)
	return state.Lflag&unix.ECHO != 0
}

// runAtTerminal runs lookup there; wait returns its exit code.
func runAtTerminal(ctx context.Context, u *tool, terminal *os.File) (wait func() (int, string)) {
	var out, errOut bytes.Buffer
	code := make(chan int)
	go func() {
		code <- run(ctx, []string{"lookup", "--json"}, system{terminal, &out, &errOut, func(name string) string { return u.env[name] }})
	}()
	return func() (int, string) { return <-code, out.String() + errOut.String() }
}

const soon = 30 * time.Second // bounds a wait on a busy machine

func TestTerminalDoesNotShowTheToken(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	id, token := u.generate(t)
	user, terminal, shown := openTerminal(t)
	wait := runAtTerminal(t.Context(), u, terminal)
	require.Eventually(t, func() bool { return !echoes(t, terminal) }, soon, time.Millisecond)
	_, err := user.WriteString(token + "\n")
	require.NoError(t, err)
	code, output := wait()
	require.Zero(t, code, output)
	require.Contains(t, output, "Token (not shown): ")
	require.Contains(t, output, id)
	require.True(t, echoes(t, terminal), "the terminal is put back")
	_, err = terminal.WriteString("end") // so that all before it was displayed
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(shown(), "end") }, soon, time.Millisecond)
	require.NotContains(t, shown(), token[20:])
	require.NotContains(t, output, token[20:])
}

func TestTerminalIsPutBackAfterCtrlC(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	user, terminal, _ := openTerminal(t)
	t.Cleanup(func() { _, _ = user.WriteString("\n") }) // ends the read that was left behind
	ctx, cancel := context.WithCancel(t.Context())
	wait := runAtTerminal(ctx, u, terminal)
	require.Eventually(t, func() bool { return !echoes(t, terminal) }, soon, time.Millisecond)
	cancel()
	code, output := wait()
	require.Equal(t, int(statusInterrupted), code, output)
	require.True(t, echoes(t, terminal))
}

func TestBackupIsNotForATerminal(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	_, terminal, _ := openTerminal(t)
	for _, args := range [][]string{{"backup", "-"}, {"restore", "-"}} {
		var errOut bytes.Buffer
		code := run(t.Context(), args, system{terminal, terminal, &errOut, func(name string) string { return u.env[name] }})
		require.Equal(t, int(statusUsage), code)
		require.Contains(t, errOut.String(), "redirect")
	}
}

// TestCopyCountsOnATerminal also shows that the line is gone in the end, and that
// there is none with --json.
func TestCopyCountsOnATerminal(t *testing.T) {
	for _, flag := range []string{"--verify", "--json"} {
		from, to := newStore(t, nil), newStoreCalled(t.Name()+flag, nil)
		fill(t)
		_, terminal, shown := openTerminal(t)
		var out bytes.Buffer
		code := run(t.Context(), []string{"copy", from, to, flag}, system{nil, &out, terminal, os.Getenv})
		require.Zero(t, code)
		_, err := terminal.WriteString("end")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return strings.Contains(shown(), "end") }, soon, time.Millisecond)
		if flag == "--json" {
			require.Equal(t, "end", shown())
			continue
		}
		require.Regexp(t, `^\rcopied 500 keys, \d+ a second *\r +\r\rcompared 500 keys, \d+ a second *\r +\rend$`, shown())
		require.NotContains(t, out.String(), "\r")
	}
}

// TestUsageOnATerminal has bars of blocks, as long as the terminal is wide.
func TestUsageOnATerminal(t *testing.T) {
	u := newTool(t, newStore(t, nil))
	ks := keystoreOf(t)
	token, key, err := ks.Generate(t.Context(), keystore.KeyParams{Owner: "alice", Limits: []keystore.Limit{{Name: "year", Requests: 3, Window: 366 * day}}})
	require.NoError(t, err)
	for range 4 {
		_, _ = ks.Lookup(t.Context(), token.Reveal())
	}
	require.NoError(t, ks.Close())
	for _, c := range []struct {
		columns uint16
		locale  string
		want    string // of the bar, a quarter of which is refused
	}{
		{200, "en_US.UTF-8", strings.Repeat("█", 45) + strings.Repeat("░", 15)},
		{87, "en_US.UTF-8", strings.Repeat("█", 30) + strings.Repeat("░", 10)},
		{87, "C", strings.Repeat("#", 30) + strings.Repeat("-", 10)},
		{60, "en_US.UTF-8", ""},
		{0, "C", strings.Repeat("#", 25) + strings.Repeat("-", 8)}, // it does not say
	} {
		_, terminal, shown := openTerminal(t)
		require.NoError(t, unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: c.columns}))
		u.env["LANG"] = c.locale
		var errOut bytes.Buffer
		code := run(t.Context(), []string{"usage", key.ID}, system{nil, terminal, &errOut, func(name string) string { return u.env[name] }})
		require.Zero(t, code, errOut.String())
		_, err := terminal.WriteString("end")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return strings.Contains(shown(), "end") }, soon, time.Millisecond)
		lines := strings.Split(strings.ReplaceAll(shown(), "\r", ""), "\n")
		require.Len(t, lines, 4)
		_, bar, _ := strings.Cut(lines[1], "0     3  ")
		require.Equal(t, c.want, bar, lines[1])
		for _, line := range lines {
			require.True(t, plain(line), "%q", line)
			require.True(t, c.columns == 0 || utf8.RuneCountInString(line) < int(c.columns), line)
		}
	}
}
