package badger

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// A backup is, integers big-endian:
//
//	backupMagic
//	per record, in byte order of the ids:
//	     4 bytes  length of what follows, not 0
//	     1 byte   length of the id
//	              id
//	              envelope
//	     4 bytes  0
//	     8 bytes  number of records
//	    32 bytes  SHA-256 of all before
//
// and nothing after that. Version 1 can be restored for ever.
const (
	backupMagic    = "keystore badger backup 1\n"
	maxBackupFrame = 1 + backend.MaxIDLen + 27 + envelope.MaxOwnerLen + backend.MaxDataLen
)

// Backup writes all records to w as they were at one moment while the store
// stays in use. The form is this package's own, for [Backend.Restore]. It holds
// what the store holds, unencrypted: digests of secrets, owners, metadata.
// A failed Backup has written a part that Restore will refuse. A damaged record
// is [ErrDamaged]. Close waits for a Backup that waits for w.
func (b *Backend) Backup(w io.Writer) error {
	_, err := read(context.Background(), b, func(txn *badgerdb.Txn) (struct{}, error) {
		return struct{}{}, b.backup(txn, w)
	})
	return err
}

func (b *Backend) backup(txn *badgerdb.Txn, w io.Writer) error {
	out := newBackupWriter(w)
	prefix := b.keys.prefix(kindRecord)
	it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: prefix})
	defer it.Close()
	var value []byte
	for it.Rewind(); it.Valid(); it.Next() {
		select {
		case <-b.closing:
			return backend.ErrClosed
		default:
		}
		id := string(it.Item().Key()[len(prefix):])
		// A copy, since Badger's memory stays locked while it is used, and w may be slow.
		var err error
		if value, err = valueOf(txn, it.Item(), value); err == nil {
			err = out.record(id, value)
		}
		if err != nil {
			return fmt.Errorf("badger: backup: record %q: %w", id, err)
		}
	}
	if err := out.end(); err != nil {
		return fmt.Errorf("badger: backup: %w", err)
	}
	return nil
}

// backupWriter writes the form of a backup.
type backupWriter struct {
	w     *bufio.Writer
	sum   hash.Hash
	count uint64
}

func newBackupWriter(w io.Writer) *backupWriter {
	out := &backupWriter{w: bufio.NewWriter(w), sum: sha256.New()}
	_ = out.write([]byte(backupMagic)) // bufio keeps the error
	return out
}

func (b *backupWriter) write(p []byte) error {
	b.sum.Write(p)
	_, err := b.w.Write(p)
	return err
}

// record refuses a damaged record: a backup that cannot be restored is none.
func (b *backupWriter) record(id string, value []byte) error {
	if _, _, _, err := envelope.Decode(value); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(1+len(id)+len(value)))
	head = append(append(head, byte(len(id))), id...)
	b.count++
	if err := b.write(head); err != nil {
		return err
	}
	return b.write(value)
}

func (b *backupWriter) end() error {
	tail := binary.BigEndian.AppendUint64(make([]byte, 4), b.count)
	if err := b.write(tail); err != nil {
		return err
	}
	if err := b.write(b.sum.Sum(nil)); err != nil {
		return err
	}
	return b.w.Flush()
}

// backupReader reads and checks the form of a backup.
type backupReader struct {
	r     io.Reader // tees into sum
	raw   *bufio.Reader
	sum   hash.Hash
	count uint64
	last  string
}

// CheckBackup reads a backup to its end. It returns nil if it is whole and
// unaltered, so that [Backend.Restore] would take it, else ErrBadBackup or what
// r returned.
func CheckBackup(r io.Reader) error {
	in, err := newBackupReader(r)
	if err != nil {
		return err
	}
	for {
		_, _, _, _, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// newBackupReader returns an error unless r begins like a backup.
func newBackupReader(r io.Reader) (*backupReader, error) {
	b := &backupReader{raw: bufio.NewReader(r), sum: sha256.New()}
	b.r = io.TeeReader(b.raw, b.sum)
	magic := make([]byte, len(backupMagic))
	if err := b.read(magic); err != nil {
		return nil, err
	}
	if string(magic) != backupMagic {
		return nil, fmt.Errorf("%w: it begins differently, or is of a version that this library does not know", ErrBadBackup)
	}
	return b, nil
}

func (b *backupReader) read(p []byte) error {
	_, err := io.ReadFull(b.r, p)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut short", ErrBadBackup)
	}
	if err != nil {
		return fmt.Errorf("badger: reading the backup: %w", err)
	}
	return nil
}

// next returns the next record, its value being the encoded envelope. After the
// last record of a good backup it returns io.EOF.
func (b *backupReader) next() (id string, h envelope.Header, owner string, value []byte, err error) {
	var length [4]byte
	if err := b.read(length[:]); err != nil {
		return "", h, "", nil, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 {
		return "", h, "", nil, b.end()
	}
	if n > maxBackupFrame {
		return "", h, "", nil, fmt.Errorf("%w: a record is too long", ErrBadBackup)
	}
	frame := make([]byte, n)
	if err := b.read(frame); err != nil {
		return "", h, "", nil, err
	}
	idEnd := 1 + int(frame[0])
	if idEnd > len(frame) {
		return "", h, "", nil, fmt.Errorf("%w: an id is cut short", ErrBadBackup)
	}
	id, value = string(frame[1:idEnd]), frame[idEnd:]
	h, ownerBytes, data, err := envelope.Decode(value)
	owner = string(ownerBytes)
	if err == nil {
		err = checkRecord(backend.Record{ID: id, Owner: owner, Data: data})
	}
	if err != nil {
		return "", h, "", nil, fmt.Errorf("%w: %w", ErrBadBackup, err)
	}
	if id <= b.last {
		return "", h, "", nil, fmt.Errorf("%w: the ids do not ascend", ErrBadBackup)
	}
	b.last = id
	b.count++
	return id, h, owner, value, nil
}

// end checks what follows the last record.
func (b *backupReader) end() error {
	var count [8]byte
	if err := b.read(count[:]); err != nil {
		return err
	}
	want := b.sum.Sum(nil)
	var sum [sha256.Size]byte
	if err := b.read(sum[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint64(count[:]) != b.count || string(sum[:]) != string(want) {
		return fmt.Errorf("%w: the checksum is wrong", ErrBadBackup)
	}
	if _, err := b.raw.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: something follows its end", ErrBadBackup)
	}
	return io.EOF
}
