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
	"strings"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// A backup is, integers big-endian:
//
//	"keystore badger backup 2\n"
//	per record, then per counts, then per tally, each in byte order of the ids:
//	     4 bytes  length of what follows, not 0
//	     1 byte   kind, as in the keys: r, c or u
//	     2 bytes  length of the id
//	              id
//	              value: envelope, counts or tally
//	     4 bytes  0
//	     8 bytes  number of records, counts and tallies
//	    32 bytes  SHA-256 of all before
//
// and nothing after that. In version 1, of before there were counts and tallies,
// there is no kind, and the length of the id takes 1 byte. Both can be restored for
// ever.
const (
	backupMagic    = "keystore badger backup 2\n"
	backupMagic1   = "keystore badger backup 1\n"
	maxBackupFrame = 1 << 20 // bytes; a record has 66 KiB at most
)

// backupKinds is what a backup holds, in its order. What is not in it follows from
// these.
const backupKinds = string(kindRecord) + string(kindCounts) + string(kindTally)

// saved is a record, counts or a tally in a backup.
type saved struct {
	kind  byte
	id    string
	value []byte
	owner string        // of a record
	due   envelope.Time // its place in the index by time; 0: none
}

// Backup writes all records, what is spent of limits and the tallies of usage to w,
// as they were at one moment, while the store stays in use. The form is this
// package's own, for [Backend.Restore]. It holds what the store holds, unencrypted:
// digests of secrets, owners, metadata. A failed Backup has written a part that
// Restore will refuse. A damaged record is [ErrDamaged], and so are damaged counts,
// which ResetCounts does away with. A damaged tally is left out, and the logger
// told. Close waits for a Backup that waits for w.
func (b *Backend) Backup(w io.Writer) error {
	_, err := read(context.Background(), b, func(txn *badgerdb.Txn) (struct{}, error) {
		out := newBackupWriter(w)
		for _, kind := range []byte(backupKinds) {
			if err := b.backup(txn, kind, out); err != nil {
				return struct{}{}, fmt.Errorf("badger: backup: %w", err)
			}
		}
		if err := out.end(); err != nil {
			return struct{}{}, fmt.Errorf("badger: backup: %w", err)
		}
		return struct{}{}, nil
	})
	return err
}

// backup writes all of a kind.
func (b *Backend) backup(txn *badgerdb.Txn, kind byte, out *backupWriter) error {
	prefix := b.keys.prefix(kind)
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
			err = out.add(kind, id, value)
		}
		if kind == kindTally && errors.Is(err, errMalformed) {
			b.log.Error("a tally of usage is damaged and left out of the backup", "tally", id)
			continue
		}
		if err != nil {
			return fmt.Errorf("%c %q: %w", kind, id, err)
		}
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

// add refuses what is damaged: a backup that cannot be restored is none.
func (b *backupWriter) add(kind byte, id string, value []byte) error {
	if _, err := savedOf(kind, id, value); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	size := 1 + 2 + len(id) + len(value)
	if size > maxBackupFrame {
		return fmt.Errorf("%w: it is too long", ErrDamaged)
	}
	head := append(binary.BigEndian.AppendUint32(nil, uint32(size)), kind)
	head = append(binary.BigEndian.AppendUint16(head, uint16(len(id))), id...)
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

// savedOf takes a value of a backup apart, and refuses it if it is not whole.
func savedOf(kind byte, id string, value []byte) (saved, error) {
	s := saved{kind: kind, id: id, value: value}
	switch kind {
	case kindRecord:
		h, owner, data, err := envelope.Decode(value)
		s.owner, s.due = string(owner), h.PurgeAt
		if err == nil {
			err = checkRecord(backend.Record{ID: id, Owner: s.owner, Data: data})
		}
		return s, err
	case kindCounts:
		c, err := decodeCounts(value, nil)
		s.due = c.due
		if err == nil && !validID(id) {
			err = errInvalidID
		}
		return s, err
	case kindTally:
		t, err := decodeTally(value)
		s.due = t.purgeAt
		if subject, _, ok := splitTallyID(id); err == nil && !(ok && validSubject(subject)) {
			err = errors.New("the id is not that of a tally")
		}
		return s, err
	}
	return s, fmt.Errorf("nothing is of kind %q", kind)
}

// backupReader reads and checks the form of a backup.
type backupReader struct {
	r       io.Reader // tees into sum
	raw     *bufio.Reader
	sum     hash.Hash
	version int
	count   uint64
	last    saved
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
		_, err := in.next()
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
	switch string(magic) {
	case backupMagic:
		b.version = 2
	case backupMagic1:
		b.version = 1
	default:
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

// next returns what comes next. After the last of a good backup it returns io.EOF.
func (b *backupReader) next() (saved, error) {
	var length [4]byte
	if err := b.read(length[:]); err != nil {
		return saved{}, err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n == 0 {
		return saved{}, b.end()
	}
	if n > maxBackupFrame {
		return saved{}, fmt.Errorf("%w: a record is too long", ErrBadBackup)
	}
	frame := make([]byte, n)
	if err := b.read(frame); err != nil {
		return saved{}, err
	}
	kind, id, value, ok := splitFrame(b.version, frame)
	if !ok {
		return saved{}, fmt.Errorf("%w: an id is cut short", ErrBadBackup)
	}
	next, err := savedOf(kind, id, value)
	if err != nil {
		return saved{}, fmt.Errorf("%w: %w", ErrBadBackup, err)
	}
	if !b.last.before(next) {
		return saved{}, fmt.Errorf("%w: the ids do not ascend", ErrBadBackup)
	}
	b.last = next
	b.count++
	return next, nil
}

// before is the order in a backup.
func (s saved) before(next saved) bool {
	at, nextAt := strings.IndexByte(backupKinds, s.kind), strings.IndexByte(backupKinds, next.kind)
	return at < nextAt || at == nextAt && s.id < next.id
}

func splitFrame(version int, frame []byte) (kind byte, id string, value []byte, ok bool) {
	kind, at, n := kindRecord, 1, int(frame[0])
	if version > 1 {
		if len(frame) < 3 {
			return 0, "", nil, false
		}
		kind, at, n = frame[0], 3, int(binary.BigEndian.Uint16(frame[1:]))
	}
	if at+n > len(frame) {
		return 0, "", nil, false
	}
	return kind, string(frame[at : at+n]), frame[at+n:], true
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
