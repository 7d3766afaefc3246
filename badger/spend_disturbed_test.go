package badger_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	badgerdb "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

func daySpend(spendID uint64) backend.Spend {
	return backend.Spend{ID: "id", SpendID: spendID, Cost: 1, Windows: []backend.Window{unlimited("day", 24*time.Hour, 0)}}
}

// Another writer of the database and spends get in each other's way, and neither
// undoes what the other did.
func TestSpendsConflictWithAnother(t *testing.T) {
	const spends = 500
	b := openMemory(t)
	day := daySpend(0).Windows[0]
	spend(t, b, "id", 0, 1, day)
	done := make(chan struct{})
	var other sync.WaitGroup
	other.Go(func() {
		for {
			err := badger.Database(b).Update(func(txn *badgerdb.Txn) error {
				item, err := txn.Get([]byte("keystore/cid"))
				if err != nil {
					return err
				}
				value, err := item.ValueCopy(nil)
				if err != nil {
					return err
				}
				return txn.Set([]byte("keystore/cid"), value)
			})
			if err != nil && !errors.Is(err, badgerdb.ErrConflict) {
				t.Error(err)
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for n := range uint64(spends) {
		for again := true; again; { // what is refused for too many conflicts in a row has no effect
			s, err := b.Spend(testContext(t), daySpend(1+n))
			if again = errors.Is(err, badgerdb.ErrConflict); !again {
				require.NoError(t, err)
				require.True(t, s.OK)
			}
		}
	}
	close(done)
	other.Wait()
	assert.Equal(t, []int64{1 + spends}, countsOf(t, b, "id", day))
}

// A spend whose commit hangs returns when its context ends, and is made later.
func TestSpendWhoseCommitHangs(t *testing.T) {
	b := openMemory(t)
	day := daySpend(0).Windows[0]
	ctx, stop := context.WithCancel(context.Background())
	blocked := make(chan struct{})
	resume := sync.OnceFunc(func() { close(blocked) })
	var group sync.WaitGroup
	group.Go(func() { // see stall
		_ = badger.Database(b).Subscribe(ctx, func(*badgerdb.KVList) error { <-blocked; return nil }, []pb.Match{{Prefix: []byte("keystore/c")}})
	})
	defer group.Wait()
	defer stop()
	defer resume()

	total := int64(0)
	for queued := false; !queued; { // behind one that hangs
		total++
		short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		_, err := b.Spend(short, daySpend(uint64(total)))
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		queued = errors.Is(err, backend.ErrNotApplied)
	}
	resume()
	for n := max(1, total-60); n <= total; n++ {
		spend(t, b, "id", uint64(n), 1, day)
	}
	assert.Equal(t, []int64{total}, countsOf(t, b, "id", day))
}
