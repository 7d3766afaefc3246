package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// message is one message of the MongoDB wire protocol, with its header: length,
// request id, id of what it answers and operation code, 4 bytes each, all
// little-endian.
// See https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/.
type message []byte

const (
	headerLen = 16
	maxLen    = 48_000_000 // what a server announces as maxMessageSizeBytes

	opQuery = 2004 // drivers use it for their first hello only, and FerretDB takes nothing else in it
	opMsg   = 2013

	moreToCome = 1 << 1 // flag of an opMsg: no reply is wanted, or is followed by another
)

// readMessage returns io.EOF only between two messages.
func readMessage(r io.Reader) (message, error) {
	header := make([]byte, headerLen)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(header)
	if length < headerLen || length > maxLen {
		return nil, fmt.Errorf("a message of %d bytes", length)
	}
	m := make(message, length)
	copy(m, header)
	if _, err := io.ReadFull(r, m[headerLen:]); err != nil {
		return nil, fmt.Errorf("amid a message: %w", unexpected(err))
	}
	return m, nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (m message) op() uint32 { return binary.LittleEndian.Uint32(m[12:]) }

// oneWay says that the sender sends on without waiting for the other side.
func (m message) oneWay() bool {
	return m.op() == opMsg && len(m) >= headerLen+4 && binary.LittleEndian.Uint32(m[headerLen:])&moreToCome != 0
}

// command is the name of the command in an opMsg, which is that of the first
// element of its body; "" where the message has another form.
func (m message) command() string {
	const name = headerLen + 4 + 1 + 4 + 1 // flags, kind of section, length of document, type of element
	if m.op() != opMsg || len(m) < name || m[headerLen+4] != 0 {
		return ""
	}
	text, _, found := bytes.Cut(m[name:], []byte{0})
	if !found {
		return ""
	}
	return string(text)
}

// onlyReads says that the message changes no data. Everything that is not known
// counts as writing.
func (m message) onlyReads() bool {
	if m.op() == opQuery {
		return true
	}
	switch m.command() {
	case "hello", "isMaster", "ismaster", "ping", "buildInfo", "buildinfo", "getParameter", "serverStatus",
		"find", "getMore", "killCursors", "count", "distinct",
		"listDatabases", "listCollections", "listIndexes", "endSessions":
		return true
	}
	return false
}
