package mongo_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/internal/testserver/mongowire"
)

// A reply that is lost, or an interruption, after the spend was made costs the
// caller nothing: keystore settles it with the same id.
func TestLimitsThroughKeystore(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]mongowire.Fault{
		"no fault":       func(_ mongowire.Command, apply func() mongowire.Reply) mongowire.Reply { return apply() },
		"reply lost":     mongowire.ApplyThenClose,
		"request lost":   mongowire.CloseBefore,
		"not primary":    mongowire.Answer(mongowire.Error(10107, "not primary")),
		"interrupted":    mongowire.ApplyThenAnswer(mongowire.Error(11602, "interrupted")),
		"no majority":    mongowire.ApplyThenWriteConcernError(64, "waiting for replication timed out"),
		"rolled back":    mongowire.Answer(mongowire.Error(189, "stepped down")),
		"duplicate key?": mongowire.Answer(mongowire.Error(11000, "E11000 duplicate key error")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := startWire(t, mongowire.Primary)
			clock := func() time.Time { return now }
			ks, err := keystore.New(w.open(t, nil), &keystore.Options{
				CacheSize: -1, OpTimeout: waitLimit, TouchInterval: keystore.Never, UsageInterval: keystore.Never, PurgeInterval: keystore.Never, Now: clock,
			})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, ks.Close()) })
			token, _, err := ks.Generate(testContext(t), keystore.KeyParams{Owner: "alice", Limits: []keystore.Limit{{Name: "day", Requests: 3, Window: 24 * time.Hour}}})
			require.NoError(t, err)
			for spent := range int64(3) {
				w.faults.Nth(1, mongowire.Named("findAndModify"), fault)
				got, err := ks.LookupWith(testContext(t), token.Reveal(), keystore.LookupParams{})
				require.NoError(t, err)
				require.Zero(t, w.faults.Pending())
				require.Len(t, got.Limits, 1)
				assert.Equal(t, 3-spent-1, got.Limits[0].Remaining)
			}
			for range 2 {
				_, err = ks.Lookup(testContext(t), token.Reveal())
				require.ErrorIs(t, err, keystore.ErrRateLimited)
			}
		})
	}
}
