package http_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
)

// pool is a set of connections to one server that are kept, as HTTP/1.1 does, each
// with one request at a time. It sends the same bytes over and over and reads of the
// answer what it must: net/http's client takes as long as the server that is measured.
type pool struct {
	idle    chan *conn
	request []byte
	status  []byte // the beginning of the answer that is due
}

type conn struct {
	net.Conn
	r *bufio.Reader
}

// newPool opens n connections and tries each of them.
func newPool(b *testing.B, n int, addr, path, token string, status int) *pool {
	b.Helper()
	p := &pool{
		idle:    make(chan *conn, n),
		request: []byte("GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nAuthorization: Bearer " + token + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"),
		status:  fmt.Appendf(nil, "HTTP/1.1 %d ", status),
	}
	for range n {
		c, err := net.Dial("tcp", addr)
		must(b, err)
		b.Cleanup(func() { _ = c.Close() })
		p.idle <- &conn{c, bufio.NewReader(c)}
		must(b, p.do(0))
	}
	return p
}

// do sends a request and reads the answer.
func (p *pool) do(int) error {
	c := <-p.idle
	defer func() { p.idle <- c }()
	if _, err := c.Write(p.request); err != nil {
		return err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(line, p.status) {
		return fmt.Errorf("the answer is %q and not %s", line, p.status)
	}
	length := 0
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		} else if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
			return errors.New("this client reads no chunks")
		}
	}
	_, err = io.CopyN(io.Discard, c.r, int64(length))
	return err
}
