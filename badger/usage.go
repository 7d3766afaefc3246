package badger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strings"
	"sync/atomic"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"

	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

var _ backend.Meter = (*Backend)(nil)

// addition is a backend.Addition on its way. Nothing in it is the caller's.
type addition struct {
	entry  // of the tally: its id and purge time
	addID  uint64
	counts map[string]int64
}

// day is the length of one, in UTC.
const day = 24 * time.Hour

func additionOf(a backend.Addition) (addition, error) {
	start := a.Day.Unix()
	number := start / int64(day/time.Second)
	switch {
	case !validSubject(a.Subject):
		return addition{}, errors.New("badger: the subject of an addition is not 1 to 264 bytes without NUL")
	case start < 0 || number > math.MaxUint32 || !a.Day.Equal(dayOf(uint32(number))):
		return addition{}, errors.New("badger: the day of an addition is not a UTC midnight from the year 1970 on")
	}
	for name, n := range a.Counts {
		if !validTallyName(name) || n < 1 || n > backend.MaxCount {
			return addition{}, errors.New("badger: the counts of an addition are not 1 to backend.MaxCount, named [a-z0-9]{1,8}")
		}
	}
	at, err := envelope.TimeOf(a.PurgeAt)
	if err != nil {
		return addition{}, err
	}
	return addition{entry{tallyID(a.Subject, uint32(number)), at}, a.AddID, maps.Clone(a.Counts)}, nil
}

func dayOf(number uint32) time.Time {
	return time.Unix(int64(number)*int64(day/time.Second), 0).UTC()
}

func validSubject(s string) bool {
	return s != "" && len(s) <= backend.MaxSubjectLen && strings.IndexByte(s, 0) < 0
}

func validTallyName(name string) bool {
	const allowed = "abcdefghijklmnopqrstuvwxyz0123456789"
	return name != "" && len(name) <= backend.MaxTallyName && strings.Trim(name, allowed) == ""
}

// AddUsage implements [backend.Meter]. It works in chunks of 128 additions, and
// refuses all of them if one is not as the contract says. A tally that is damaged
// begins anew, which the logger is told; one of a newer version of this library is
// left as it is.
func (b *Backend) AddUsage(ctx context.Context, additions []backend.Addition) error {
	if err := b.enter(ctx); err != nil {
		return refused(err)
	}
	b.calls.RUnlock()
	own := make([]addition, len(additions))
	for i, a := range additions {
		var err error
		if own[i], err = additionOf(a); err != nil {
			return refused(err)
		}
	}
	var newer atomic.Pointer[error] // for a chunk may go on after the call has returned
	err := inChunks(ctx, b, fullReserve, own, func(txn *badgerdb.Txn, a addition) (effect, error) {
		made, err := b.addUsage(txn, a)
		if errors.Is(err, errNewer) {
			newer.Store(&err)
			return effect{}, nil
		}
		return made, err
	})
	if left := newer.Load(); err == nil && left != nil {
		return fmt.Errorf("%w: %w", backend.ErrDamagedTally, *left)
	}
	return err
}

func (b *Backend) addUsage(txn *badgerdb.Txn, a addition) (effect, error) {
	t, _, err := b.loadTally(txn, a.id)
	if errors.Is(err, errMalformed) {
		// It cannot be read again, and would hold up all that is added with it.
		b.log.Error("a tally of usage is damaged and begins anew", "error", err)
		t, err = tally{}, nil
	}
	if err != nil || t.has(a.addID) {
		return effect{}, err
	}
	t.add(a.addID, a.counts)
	old := t.purgeAt
	t.purgeAt = a.at
	if err := txn.Set(b.keys.of(kindTally, a.id), t.encode()); err != nil {
		return effect{}, err
	}
	if old == a.at {
		return effect{}, nil
	}
	if old != 0 {
		if err := txn.Delete(b.keys.due(kindTallyDue, entry{a.id, old})); err != nil {
			return effect{}, err
		}
	}
	if a.at == 0 {
		return effect{}, nil
	}
	return effect{due: a.at, index: &b.shared.purgedTallies}, txn.Set(b.keys.due(kindTallyDue, a.entry), present)
}

// Usage implements [backend.Meter]. A tally that is damaged is an error.
func (b *Backend) Usage(ctx context.Context, subject string, from, to time.Time) ([]backend.Tally, error) {
	if !validSubject(subject) {
		return nil, errors.New("badger: the subject is not 1 to 264 bytes without NUL")
	}
	first := min(max(from.Unix(), 0)/int64(day/time.Second), math.MaxUint32)
	return read(ctx, b, func(txn *badgerdb.Txn) ([]backend.Tally, error) {
		prefix := b.keys.of(kindTally, subject+"\x00")
		it := txn.NewIterator(badgerdb.IteratorOptions{Prefix: prefix})
		defer it.Close()
		var found []backend.Tally
		for it.Seek(b.keys.of(kindTally, tallyID(subject, uint32(first)))); it.Valid(); it.Next() {
			if ctx.Err() != nil {
				return nil, contextError(ctx)
			}
			id := string(it.Item().Key()[len(b.keys)+1:])
			_, number, ok := splitTallyID(id)
			at := dayOf(number)
			if !ok || at.Before(from) {
				continue
			}
			if !at.Before(to) {
				break
			}
			t, err := readTally(txn, id, it.Item())
			if err != nil {
				return nil, err
			}
			found = append(found, backend.Tally{Day: at, Counts: t.counts})
		}
		return found, nil
	})
}

// PurgeUsage implements [backend.Meter]. It works in chunks of 32 tallies. Those
// that are damaged go when those would that are not.
func (b *Backend) PurgeUsage(ctx context.Context, now time.Time, limit int) (int, error) {
	return b.purgeDue(ctx, now, limit, kindTallyDue, &b.shared.purgedTallies, b.purgeTally)
}

// purgeTally deletes the tally of an index entry if the entry still tells its purge
// time, or if nothing else can.
func (b *Backend) purgeTally(txn *badgerdb.Txn, e entry, _ envelope.Time) (effect, error) {
	t, there, err := b.loadTally(txn, e.id)
	switch {
	case errors.Is(err, errNewer):
		return effect{}, nil
	case err != nil && !errors.Is(err, errMalformed):
		return effect{}, err
	case err == nil && (!there || t.purgeAt != e.at):
		return effect{}, b.dropStale(txn, kindTallyDue, e)
	}
	if err := txn.Delete(b.keys.due(kindTallyDue, e)); err != nil {
		return effect{}, err
	}
	return effect{purged: 1}, txn.Delete(b.keys.of(kindTally, e.id))
}

// loadTally reads a tally, if it is there.
func (b *Backend) loadTally(txn *badgerdb.Txn, id string) (t tally, there bool, err error) {
	item, err := txn.Get(b.keys.of(kindTally, id))
	if errors.Is(err, badgerdb.ErrKeyNotFound) {
		return tally{}, false, nil
	}
	if err != nil {
		return tally{}, true, fmt.Errorf("badger: %w", describe(err))
	}
	t, err = readTally(txn, id, item)
	return t, true, err
}

func readTally(txn *badgerdb.Txn, id string, item *badgerdb.Item) (tally, error) {
	subject, number, _ := splitTallyID(id)
	value, err := valueOf(txn, item, nil)
	if err != nil {
		return tally{}, fmt.Errorf("badger: usage of %q on %s: %w", subject, dayOf(number).Format(time.DateOnly), describe(err))
	}
	t, err := decodeTally(value)
	if err != nil {
		return tally{}, fmt.Errorf("badger: usage of %q on %s: %w", subject, dayOf(number).Format(time.DateOnly), err)
	}
	return t, nil
}
