package httpauth

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Cases 38 to 41 on the wire, with bytes that net/http's client does not send.
func TestRawRequests(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: -1})
	token, other := s.key(), s.key()
	server := httptest.NewServer(s.Require()(greet))
	defer server.Close()
	fill := strings.NewReplacer("TOKEN", token, "OTHER", other, "CR", "\r", "LF", "\n", "NUL", "\x00", "TAB", "\t", "DEL", "\x7f", "HIGH", "\xa0", "MiB", strings.Repeat("x", 1<<20-100))
	for fields, want := range map[string]string{ // lines separated by |
		"Authorization: Bearer TOKEN":                                       "200",
		"authorization:Bearer TOKEN":                                        "200",
		"AUTHORIZATION:TABBearer TOKEN  TAB ":                               "200", // white space around a value is not of it: RFC 9110, section 5.5
		"x-api-key:TOKEN":                                                   "200",
		"Authorization: Bearer TOKEN|Authorization: Bearer TOKEN":           "400",
		"Authorization: Bearer TOKEN|authorization: Bearer OTHER":           "400",
		"X-API-Key: TOKEN|X-API-Key: OTHER":                                 "400",
		"X-API-Key: TOKEN|Authorization: Bearer OTHER":                      "400",
		"X-API-Key: TOKEN|Authorization:":                                   "400",
		"X-API-Key:|X-API-Key: TOKEN":                                       "400",
		"X-API-Key: TOKEN,OTHER":                                            "400",
		"Authorization: Bearer TOKENNUL":                                    "400",
		"Authorization: Bearer NULTOKEN":                                    "400",
		"X-API-Key: TOKENDEL":                                               "400",
		"X-API-Key: TOKENCRx":                                               "400",
		"X-API-Key : TOKEN":                                                 "400",
		"X-API-Key\x00: TOKEN":                                              "400",
		"X-API-Key: TOKENHIGH":                                              "401",
		"X-API-Key: TOKENTABx":                                              "401",
		"X-API-Key: TOKEN| folded":                                          "401", // obs-fold: the server joins with a space
		"X-API-Key: TO|TABKEN":                                              "401",
		"Authorization: Bearer| TOKEN":                                      "200", // folded where a space may be
		"Authorization:| Bearer TOKEN":                                      "200",
		"Authorization: BearerTABTOKEN":                                     "401",
		" X-API-Key: TOKEN":                                                 "401", // folded into the field before
		"X-API-Key: MiB":                                                    "401",
		"X-API-Key: MiB|X-Other: MiB":                                       "431",
		"Host: y|X-API-Key: TOKEN":                                          "400",
		"Trailer: X-API-Key|Transfer-Encoding: chunked||0|X-API-Key: TOKEN": "401",
	} {
		raw := "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + strings.ReplaceAll(fill.Replace(fields), "|", "\r\n") + "\r\n\r\n"
		answer := exchange(t, server.Listener.Addr().String(), raw)
		if want == "431" && answer == "" {
			continue // the connection was reset before the answer was read
		}
		line, _, _ := strings.Cut(answer, "\r\n")
		assert.Contains(t, line, " "+want+" ", "%.100s", fields)
		assert.NotContains(t, answer, token[20:], "%.100s", fields)
	}
}

// Pipelined requests are answered in turn, each for its own credential.
func TestPipelinedRequests(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: -1})
	server := httptest.NewServer(s.Require()(greet))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Minute))
	token := s.key()
	var sent strings.Builder
	var want []int
	for i := range 30 {
		field, status := "X-API-Key: "+token+"\r\n", 200
		switch i % 3 {
		case 1:
			field, status = "", 401
		case 2:
			field, status = field+field, 400
		}
		sent.WriteString("GET / HTTP/1.1\r\nHost: x\r\n" + field + "\r\n")
		want = append(want, status)
	}
	_, err = io.WriteString(conn, sent.String())
	require.NoError(t, err)
	answers := bufio.NewReader(conn)
	for i, status := range want {
		answer, err := http.ReadResponse(answers, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(t, err)
		require.Equal(t, status, answer.StatusCode, i)
	}
}

// A refusal does not wait for the body, and asks for none (100 Continue).
func TestRefusalDoesNotReadTheBody(t *testing.T) {
	s := newService(t, nil)
	server := httptest.NewServer(s.Require()(greet))
	defer server.Close()
	answer := exchange(t, server.Listener.Addr().String(), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n")
	assert.True(t, strings.HasPrefix(answer, "HTTP/1.1 401 "), answer)
}

// Case 40 over HTTP/2, where fields of one name stay apart too.
func TestHTTP2(t *testing.T) {
	s := newService(t, &Options{FailuresPerSecond: -1})
	server := httptest.NewUnstartedServer(s.Require("a")(greet))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	client := server.Client()
	good, narrow := s.key("a"), s.key("b")
	for _, c := range []struct {
		want   int
		header http.Header
	}{
		{200, http.Header{"Authorization": {"Bearer " + good}}},
		{200, http.Header{"X-Api-Key": {good}}},
		{401, http.Header{}},
		{401, http.Header{"X-Api-Key": {otherToken}}},
		{403, http.Header{"X-Api-Key": {narrow}}},
		{400, http.Header{"Authorization": {"Bearer " + good, "Bearer " + good}}},
		{400, http.Header{"Authorization": {"Bearer " + good}, "X-Api-Key": {good}}},
		{400, http.Header{"X-Api-Key": {good, narrow}}},
		{400, http.Header{"X-Api-Key": {""}}},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			r, err := http.NewRequest(method, server.URL, nil)
			require.NoError(t, err)
			r.Header = c.header
			answer, err := client.Do(r)
			require.NoError(t, err)
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			answer.Body.Close()
			assert.Equal(t, 2, answer.ProtoMajor)
			assert.Equal(t, c.want, answer.StatusCode, "%v", c.header)
			assert.Equal(t, c.want == 200 || c.want == 503, answer.Header.Get("WWW-Authenticate") == "")
			if method == "HEAD" {
				assert.Empty(t, body)
			}
		}
	}
	client.CloseIdleConnections()
}

// A hundred megabytes of refused fields leave nothing behind.
func TestLargeFieldsLeaveNothing(t *testing.T) {
	s := newService(t, nil)
	h := s.Require()(greet)
	large := bytes.Repeat([]byte("x"), 1<<20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range 25 {
				r := newRequest("/")
				r.RemoteAddr = net.IPv4(198, 51, byte(i), byte(n)).String() + ":1"
				r.Header["X-Api-Key"] = []string{string(large)}
				serve(h, r)
			}
		})
	}
	group.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(16<<20))
}
