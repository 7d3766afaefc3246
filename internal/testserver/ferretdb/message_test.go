package main

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatOnlyReads(t *testing.T) {
	for command, reads := range map[string]bool{
		"hello": true, "ping": true, "find": true, "getMore": true, "endSessions": true,
		"insert": false, "update": false, "delete": false, "findAndModify": false, "createIndexes": false,
		"drop": false, "dropDatabase": false, "aggregate": false, "anything": false,
	} {
		assert.Equal(t, reads, newMessage(t, 0, command).onlyReads(), command)
	}
	whole := newMessage(t, 0, "find")
	for n := headerLen; n < headerLen+14; n++ {
		assert.False(t, whole[:n].onlyReads(), "cut off after %d bytes", n)
	}
	sectionFirst := message(bytes.Clone(whole))
	sectionFirst[headerLen+4] = 1
	assert.False(t, sectionFirst.onlyReads(), "what begins with a sequence of documents may write them")
}

func TestReadMessage(t *testing.T) {
	two := append(newMessage(t, 0, "find"), newMessage(t, moreToCome, "insert")...)
	r := bytes.NewReader(two)
	first, err := readMessage(r)
	require.NoError(t, err)
	second, err := readMessage(r)
	require.NoError(t, err)
	assert.Equal(t, two, append(first[:len(first):len(first)], second...))
	assert.False(t, first.oneWay())
	assert.True(t, second.oneWay())
	_, err = readMessage(r)
	require.Equal(t, io.EOF, err, "between two messages")

	_, err = readMessage(bytes.NewReader(two[:20]))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "amid one")
	_, err = readMessage(bytes.NewReader(make([]byte, headerLen)))
	require.ErrorContains(t, err, "0 bytes")
	_, err = readMessage(strings.NewReader("GET / HTTP/1.1\r\n\r\n"))
	require.ErrorContains(t, err, "bytes")
}

func TestLogShowsErrorsOnly(t *testing.T) {
	var log bytes.Buffer
	l := newLogger(&log).With("name", "x")
	l.Info("Connection started")
	l.Warn("Response header: length: 121")
	l.Warn("Response message: no such command: 'endSessions'")
	require.Empty(t, log.String())
	l.Log(t.Context(), slog.LevelWarn, "Response message: duplicate key")
	require.Contains(t, log.String(), "duplicate key")
}
