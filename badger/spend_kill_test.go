package badger_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/badger"
)

const (
	killedIDs   = 3
	killedSlots = 4
	totalMax    = 300
	slotMax     = 100
)

func killedID(n int) string { return fmt.Sprint("id-", n) }

// killedWindows are those of one spend of the child. All slots together hold more
// than the total.
func killedWindows(slot int) []backend.Window {
	return []backend.Window{
		{Name: "total", Length: time.Hour, Start: time.Unix(0, 0), Max: totalMax},
		{Name: "slot", Length: time.Second, Start: time.Unix(int64(slot), 0), Max: slotMax},
	}
}

// spendForEver prints "ok id slot cost spend-id" after every spend that was
// answered, ok being true or false.
func spendForEver(dir string) error {
	b, err := badger.Open(dir, nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), childLife)
	defer cancel()
	failed := make(chan error)
	for range 16 {
		go func() {
			for {
				id, slot, cost, spendID := rand.IntN(killedIDs), rand.IntN(killedSlots), 1+rand.Int64N(3), rand.Uint64()
				s, err := b.Spend(ctx, backend.Spend{ID: killedID(id), SpendID: spendID, Cost: cost, Windows: killedWindows(slot)})
				if err != nil {
					failed <- err
					return
				}
				fmt.Println(s.OK, id, slot, cost, spendID)
			}
		}()
	}
	return <-failed
}

// What was spent before kill -9 is spent, in all windows or in none, and no window
// passes more than its Max.
func TestKillWhileSpending(t *testing.T) {
	dir := t.TempDir()
	var acknowledged [killedIDs][killedSlots]int64
	var last [killedIDs]struct {
		slot    int
		spendID uint64
	}
	for range 3 {
		spender := startChild(t, "spend", dir)
		for n := 0; spender.output.Scan(); n++ {
			var ok bool
			var id, slot int
			var cost int64
			var spendID uint64
			_, err := fmt.Sscan(spender.output.Text(), &ok, &id, &slot, &cost, &spendID)
			require.NoError(t, err, spender.output.Text())
			if ok {
				acknowledged[id][slot] += cost
				last[id].slot, last[id].spendID = slot, spendID
			}
			if n == 200 { // as in TestKill
				require.NoError(t, spender.cmd.Process.Kill())
			}
		}
		spender.kill()

		b, err := badger.Open(dir, nil)
		require.NoError(t, err)
		for id := range killedIDs {
			total := countsOf(t, b, killedID(id), killedWindows(0)...)[0]
			assert.LessOrEqual(t, total, int64(totalMax))
			var sum int64
			for slot, spent := range acknowledged[id] {
				count := countsOf(t, b, killedID(id), killedWindows(slot)...)[1]
				assert.GreaterOrEqual(t, count, spent, "what was acknowledged")
				assert.LessOrEqual(t, count, int64(slotMax))
				sum += count
			}
			assert.Equal(t, total, sum, "in all windows or in none")
			repeat, err := b.Spend(testContext(t), backend.Spend{ID: killedID(id), SpendID: last[id].spendID, Cost: totalMax, Windows: killedWindows(last[id].slot)})
			require.NoError(t, err)
			assert.True(t, repeat.OK, "it is known")
			assert.Equal(t, total, repeat.Counts[0])
		}
		assertConsistent(t, b)
		require.NoError(t, b.Close())
	}
	var sum int64
	for _, slots := range acknowledged {
		for _, spent := range slots {
			sum += spent
		}
	}
	assert.Greater(t, sum, int64(300))
}
