package server

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/memory"
)

func TestTokensDoNotCrossANetworkInTheClear(t *testing.T) {
	for listen, ok := range map[string]bool{
		"127.0.0.1:0": true, "localhost:0": true, "127.5.0.1:0": true,
		"0.0.0.0:0": false, ":0": false, "[::]:0": false, "192.0.2.1:0": false,
	} {
		c := Config{Listen: listen}
		err := c.checkAddress()
		if ok {
			require.NoError(t, err, listen)
			continue
		}
		require.ErrorIs(t, err, keystore.ErrInvalid, listen)
		c.Insecure = true
		require.NoError(t, c.checkAddress(), listen)
		c.Insecure, c.SelfSigned = false, true
		require.NoError(t, c.checkAddress(), listen)
	}
}

func TestConfigThatCanNeverBeServed(t *testing.T) {
	for name, c := range map[string]Config{
		"nothing":       {},
		"no port":       {Listen: "127.0.0.1"},
		"two kinds":     {Listen: "127.0.0.1:0", SelfSigned: true, CertFile: "a", KeyFile: "b"},
		"no key":        {Listen: "127.0.0.1:0", CertFile: "a"},
		"no cert":       {Listen: "127.0.0.1:0", KeyFile: "a"},
		"in the clear":  {Listen: ":0"},
		"no path":       {Listen: "unix:"},
		"unlike a host": {Listen: "ks_secret"},
	} {
		err := Run(t.Context(), memory.New(), nil, c)
		require.ErrorIs(t, err, keystore.ErrInvalid, name)
		require.NotContains(t, err.Error(), "secret")
	}
	require.ErrorIs(t, Run(t.Context(), memory.New(), &keystore.Options{Prefix: "X"}, Config{Listen: "127.0.0.1:0"}), keystore.ErrInvalid)
}

// Everything is let go of when one address cannot be had.
func TestNothingIsServedWhereOneAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	err = Run(t.Context(), memory.New(), nil, Config{Listen: address, OpsListen: taken.Addr().String()})
	require.ErrorContains(t, err, "cannot listen")
	free, err = net.Listen("tcp", address)
	require.NoError(t, err)
	require.NoError(t, free.Close())
}

func TestUnixSocketForProxies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	require.NoError(t, err)
	stale.SetUnlinkOnClose(false) // as a killed process leaves it
	require.NoError(t, stale.Close())
	s := serve(t, Config{Listen: "unix:" + path})
	s.client.CloseIdleConnections()
	s.client.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	token, _ := s.generate("a")
	require.Equal(t, 200, s.ask("GET", "http://proxy/verify?scope=a", token, "").StatusCode)
	require.ErrorContains(t, Run(t.Context(), memory.New(), nil, Config{Listen: "unix:" + path}), "another process listens")
	s.client.CloseIdleConnections()
	require.NoError(t, s.end())
	_, err = os.Lstat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("kept"), 0o600))
	require.Error(t, Run(t.Context(), memory.New(), nil, Config{Listen: "unix:" + path}))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "kept", string(text))
}

// Clients behind a proxy have budgets of their own; a client that is no proxy
// cannot choose its address.
func TestThrottleCountsClientsBehindAProxy(t *testing.T) {
	for _, trusted := range []bool{true, false} {
		c := Config{}
		if trusted {
			c.TrustedProxies = prefixes("127.0.0.1/32")
		}
		s := serve(t, c)
		token, _ := s.generate("a")
		try := func(client, token string) int {
			r, err := http.NewRequestWithContext(t.Context(), "GET", s.url("/verify"), nil)
			require.NoError(t, err)
			r.Header.Set("X-Forwarded-For", client)
			r.Header.Set("Authorization", "Bearer "+token)
			response, err := s.client.Do(r)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			return response.StatusCode
		}
		attempts := func(client string) (n int) {
			for try(client, token+"x") == 401 {
				n++
				require.Less(t, n, 5000, "nobody throttles")
			}
			return n
		}
		require.GreaterOrEqual(t, attempts("192.0.2.1"), 50)
		if trusted {
			require.Equal(t, 200, try("192.0.2.2", token))
			require.GreaterOrEqual(t, attempts("192.0.2.2"), 50)
		} else {
			require.Less(t, attempts("192.0.2.2"), 50, "what it says of itself made a new client of it")
		}
	}
}
