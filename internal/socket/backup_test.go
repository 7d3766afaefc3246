package socket_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
	"example.com/keystore/memory"
)

type backupper interface{ Backup(w io.Writer) error }

func TestBackup(t *testing.T) {
	folder, err := badger.Open("", &badger.Options{InMemory: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, folder.Close()) })
	path, end := serve(t, folder, nil)
	b := open(t, path)
	for n := range 50 {
		require.NoError(t, b.Create(t.Context(), backend.Record{ID: fmt.Sprintf("key-%02d", n), Owner: "o", Data: bytes.Repeat([]byte{1}, 10_000)}))
	}
	var direct, over bytes.Buffer
	require.NoError(t, folder.Backup(&direct))
	require.NoError(t, b.(backupper).Backup(&over))
	require.True(t, bytes.Equal(direct.Bytes(), over.Bytes()))

	full := errors.New("the disk is full")
	require.ErrorIs(t, b.(backupper).Backup(writerOf(iotest.ErrReader(full))), full)
	hold := make(chan struct{}) // the server ends amid it
	err = b.(backupper).Backup(writer(func(p []byte) (int, error) {
		select {
		case <-hold:
		default:
			close(hold)
			end()
		}
		return len(p), nil
	}))
	require.ErrorContains(t, err, "socket:", "what came is no whole backup")
}

func TestBackupThatFails(t *testing.T) {
	b := served(t, struct {
		backend.Backend
		backupper
	}{memory.New(), failing{}})
	var out bytes.Buffer
	require.ErrorIs(t, b.(backupper).Backup(&out), badger.ErrDamaged)

	closed := served(t, struct {
		backend.Backend
		backupper
	}{memory.New(), endless{}})
	err := closed.(backupper).Backup(writer(func(p []byte) (int, error) {
		go closed.Close()
		return len(p), nil
	}))
	require.ErrorIs(t, err, backend.ErrClosed)
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func writerOf(r io.Reader) io.Writer {
	return writer(func(p []byte) (int, error) { return r.Read(p) })
}

type failing struct{}

func (failing) Backup(w io.Writer) error {
	_, _ = w.Write([]byte("a part"))
	return fmt.Errorf("%w: record 7", badger.ErrDamaged)
}

type endless struct{}

func (endless) Backup(w io.Writer) error {
	for {
		if _, err := w.Write(make([]byte, 1<<16)); err != nil {
			return err
		}
	}
}
