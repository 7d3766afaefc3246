package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Many requests at once over one connection of HTTP/2.
func TestManyStreams(t *testing.T) {
	s := serve(t, Config{SelfSigned: true})
	token, id := s.generate("a")
	require.Equal(t, 2, s.get("/verify", token).ProtoMajor)
	var requests sync.WaitGroup
	errs := make(chan error, 400)
	for i := range cap(errs) {
		requests.Go(func() {
			want, path := 200, "/verify?scope=a"
			if i%2 == 1 {
				want, path = 403, fmt.Sprintf("/verify/b%d/", i)
			}
			a, err := ask(t.Context(), s.client, "GET", s.url(path), token, "")
			switch {
			case err != nil:
				errs <- err
			case a.StatusCode != want || want == 200 && a.Header.Get("X-Key-Id") != id:
				errs <- fmt.Errorf("%s: %d", path, a.StatusCode)
			}
		})
	}
	requests.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
}

// A client that opens streams and resets them at once, as fast as it can
// (CVE-2023-44487), does not keep others from being served, and memory is bounded.
func TestRapidReset(t *testing.T) {
	s := serve(t, Config{SelfSigned: true})
	token, _ := s.generate("a")
	head := encodeHead(t, s.addr, token)
	before := inUse()
	var attackers sync.WaitGroup
	var sent atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	for range 2 {
		attackers.Go(func() {
			for ctx.Err() == nil {
				sent.Add(int64(resetStreams(ctx, s.addr, head, 1000)))
			}
		})
	}
	for n := 0; n < sized(10, 1000) || sent.Load() == 0; n++ {
		require.Equal(t, 200, s.get("/verify?scope=a", token).StatusCode)
	}
	stop()
	attackers.Wait()
	t.Logf("%d streams were opened and reset meanwhile", sent.Load())
	require.Less(t, int64(inUse())-int64(before), int64(32<<20))
}

// encodeHead is the header block of a request to /verify.
func encodeHead(t *testing.T, host, token string) []byte {
	t.Helper()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	e.SetMaxDynamicTableSize(0) // the same block serves every request
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "https"}, {Name: ":authority", Value: host}, {Name: ":path", Value: "/verify"},
		{Name: "authorization", Value: "Bearer " + token, Sensitive: true},
	} {
		require.NoError(t, e.WriteField(f))
	}
	return block.Bytes()
}

// resetStreams opens n streams and resets each, until the server hangs up or ctx
// ends; it returns how many it could.
func resetStreams(ctx context.Context, addr string, head []byte, n int) int {
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		return 0
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(patience))
	conn := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return 0
	}
	framer := http2.NewFramer(conn, conn)
	_ = framer.WriteSettings()
	go func() { // what is not read would hold the server up
		for {
			if _, err := framer.ReadFrame(); err != nil {
				return
			}
		}
	}()
	for i := range n {
		if ctx.Err() != nil {
			return i
		}
		id := uint32(2*i + 1)
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndStream: true, EndHeaders: true})
		if err == nil {
			err = framer.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		if err != nil {
			return i
		}
	}
	return n
}
