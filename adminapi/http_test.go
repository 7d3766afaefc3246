package adminapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
)

// listen serves the site on a port of its own.
func (s *site) listen(readTimeout time.Duration) *httptest.Server {
	server := httptest.NewUnstartedServer(s.http)
	server.Config.ReadTimeout = readTimeout
	server.Start()
	s.t.Cleanup(server.Close)
	return server
}

// raw sends bytes as they are, and reads one answer.
func raw(t *testing.T, server *httptest.Server, bytes string, then func(net.Conn)) reply {
	t.Helper()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, bytes)
	require.NoError(t, err)
	if then != nil {
		then(conn)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	return replyOf(t, resp)
}

// TestBodiesOverHTTP: bodies that end early, come too late or do not end.
func TestBodiesOverHTTP(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, as(everything))
	const head = "POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

	server := s.listen(0)
	raw(t, server, head+"Content-Length: 100\r\n\r\n{", func(c net.Conn) { c.(*net.TCPConn).CloseWrite() }).want(t, 400, "malformed").at(t, "body")
	raw(t, server, head+"Transfer-Encoding: chunked\r\n\r\nzz\r\n", nil).want(t, 400, "malformed").at(t, "body")
	raw(t, server, head+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", maxBody+1, strings.Repeat(" ", maxBody+1)), nil).want(t, 413, "too_large")
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 8192, strings.Repeat(" ", 8192))
	raw(t, server, head+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat(chunk, 9)+"0\r\n\r\n", nil).want(t, 413, "too_large")
	raw(t, server, head+"Transfer-Encoding: chunked\r\n\r\n"+strings.Repeat(chunk, 7)+"f\r\n{\"owner\":\"bob\"}\r\n0\r\n\r\n", nil).want(t, 201, "")

	slow := s.listen(100 * time.Millisecond)
	raw(t, slow, head+"Content-Length: 100\r\n\r\n{", nil).want(t, 408, "timeout")
}

// TestHead has the header of GET and no body.
func TestHead(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, as(everything))
	k, _ := s.key(keystore.KeyParams{Owner: "alice"})
	server := s.listen(0)
	for path, status := range map[string]int{"/keys/" + k.ID: 200, "/keys/x": 404, "/keys": 200} {
		resp, err := http.Head(server.URL + "/v1" + path)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, status, resp.StatusCode)
		assert.Contains(t, resp.Header.Get("Content-Type"), "json")
	}
}

// TestPlantedToken sends a token to every place where it does not belong. Nothing
// repeats it: no problem, no header field, no log.
func TestPlantedToken(t *testing.T) {
	s := newSite(t, nil, keystore.Options{}, nil)
	admin := s.admin()
	_, planted := s.key(keystore.KeyParams{Owner: "alice", Scopes: []string{ScopeSelf}})
	secret := planted[len("ks_")+16:]
	k, _ := s.key(keystore.KeyParams{Owner: "alice"})
	for _, r := range []request{
		{method: "GET", path: "/" + planted},
		{method: "GET", path: "/keys/" + planted},
		{method: "DELETE", path: "/keys/" + planted},
		{method: "GET", path: "/keys?" + planted},
		{method: "GET", path: "/keys?" + planted + "=1"},
		{method: "GET", path: "/keys?limit=" + planted},
		{method: "GET", path: "/keys?state=" + planted},
		{method: "GET", path: "/keys?cursor=%20" + planted},
		{method: "GET", path: "/keys?unused_since=" + planted},
		{method: planted, path: "/keys"},
		{method: "POST", path: "/keys", body: planted},
		{method: "POST", path: "/keys", body: m{"owner": "a", planted: 1}},
		{method: "POST", path: "/keys", body: m{"owner": "a", "scopes": []string{planted + "!"}}},
		{method: "POST", path: "/keys", body: m{"owner": "a", "expires_at": planted}},
		{method: "POST", path: "/keys", body: m{"owner": "a", "ttl_seconds": planted}},
		{method: "POST", path: "/keys", body: m{"owner": "a", "metadata": m{"keystore:" + planted: "x"}}},
		{method: "POST", path: "/keys", body: m{"owner": planted + "\x00"}},
		{method: "POST", path: "/keys", body: "{}", header: map[string]string{"Content-Type": "application/" + planted}},
		{method: "PATCH", path: "/keys/" + k.ID, body: m{"scopes": []string{"keystore:" + planted}}},
		{method: "PATCH", path: "/keys/" + k.ID, body: m{"name": planted}, header: map[string]string{"If-Match": planted}},
		{method: "PATCH", path: "/keys/" + k.ID, body: m{}, header: map[string]string{"If-Match": `"` + planted + `"`}},
		{method: "POST", path: "/keys/" + k.ID + "/revoke", body: m{"reason": planted + strings.Repeat("x", 1024)}},
		{method: "POST", path: "/keys", body: m{"owner": "a", "plan": planted}},
		{method: "POST", path: "/keys", body: m{"owner": "a", "limits": []any{planted}}},
		{method: "POST", path: "/keys", body: m{"owner": "a", "limits": []m{limitJSON(planted, 1, 1), limitJSON(planted, 1, 1)}}},
		{method: "PATCH", path: "/keys/" + k.ID, body: m{"plan": planted}},
		{method: "GET", path: "/keys/" + planted + "/usage"},
		{method: "GET", path: "/keys/" + planted + "/limits"},
		{method: "POST", path: "/keys/" + planted + "/reset-limits"},
		{method: "GET", path: "/usage?owner=a&by=" + planted},
		{method: "GET", path: "/usage?owner=%00" + planted},
		{method: "GET", path: "/usage?owner=a&from=" + planted},
		{method: "POST", path: "/lookup", body: m{"token": planted, "cost": planted}},
		{method: "POST", path: "/lookup", body: m{"token": planted + "x"}},
		{method: "POST", path: "/lookup", body: m{"token": planted, "scopes": []string{planted}}},
		{method: "GET", path: "/keys/x", header: map[string]string{"X-Request-Id": planted}},
		{method: "GET", path: "/keys/x", header: map[string]string{"X-Request-Id": secret}},
		{method: "GET", path: "/keys/x", header: map[string]string{"Accept": planted}},
		{method: "GET", path: "/keys", header: map[string]string{"X-API-Key": planted}},
	} {
		r.token = admin
		got := s.do(r)
		assert.NotContains(t, got.raw, secret, "%s %s", r.method, r.path)
		assert.NotContains(t, fmt.Sprint(got.Header), secret, "%s %s", r.method, r.path)
		if r.path != "/lookup" {
			assert.GreaterOrEqual(t, got.StatusCode, 400, "%s %s", r.method, r.path)
		}
	}
	require.NoError(t, s.ks.Close())
	for _, token := range []string{admin, planted} { // failures are logged
		got := s.do(request{method: "GET", path: "/keys", token: token}).want(t, 503, "unavailable")
		assert.NotContains(t, got.raw, token)
	}
	assert.NotContains(t, s.log.String(), secret)
	assert.NotContains(t, s.log.String(), admin)
}
