package redis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore"
	"example.com/keystore/backend"
	"example.com/keystore/internal/envelope"
)

// Records that this version cannot read are damaged to keystore, and neither
// changed nor purged, but can be deleted; what is beside them works.
func TestRecordsThatCannotBeRead(t *testing.T) {
	const bad, good = "0123456789abcdef", "0good0good0good0" // ids that keystore could have made
	at := time.UnixMilli(1000).UTC()
	whole := envelopeOf(backend.Record{Owner: "alice", Data: []byte("data"), Revision: 3, PurgeAt: at})
	for name, c := range map[string]struct {
		value any
		cause error // of Update
	}{
		"of a later version":        {"\x02" + whole[1:], envelope.ErrVersion},
		"of a later version, short": {"\x02", envelope.ErrVersion},
		"empty":                     {"", envelope.ErrMalformed},
		"cut in the header":         {whole[:26], envelope.ErrMalformed},
		"cut in the owner":          {whole[:29], envelope.ErrMalformed},
		"owner longer than it is":   {whole[:25] + "\xff\xff" + whole[27:], envelope.ErrMalformed},
		"no string":                 {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			onServers(t, func(t *testing.T, client *goredis.Client) {
				ctx := testContext(t)
				b := handleOn(t, client, nil)
				create(t, b, backend.Record{ID: bad, Owner: "alice", Data: []byte("data"), PurgeAt: at}, record(good, "alice", "d"))
				if c.value != nil {
					require.NoError(t, client.Set(ctx, keyOf(bad), c.value, 0).Err())
				} else {
					require.NoError(t, client.Del(ctx, keyOf(bad)).Err())
					require.NoError(t, client.LPush(ctx, keyOf(bad), "x").Err())
				}

				want := backend.Record{ID: bad}
				require.Equal(t, want, get(t, b, bad), "there, without anything that could be taken for a key")
				require.Equal(t, []string{bad, good}, idsOf(listAll(t, b, "", 1)))
				require.Equal(t, []string{bad, good}, idsOf(listAll(t, b, "alice", 10)))

				if c.value == nil && strings.HasSuffix(t.Name(), "miniredis") {
					return // which has errors of its own
				}
				before := dump(t, client, bad)
				err := b.Update(ctx, backend.Record{ID: bad, Revision: 3, Data: []byte("new")})
				require.ErrorIs(t, err, backend.ErrNotApplied)
				if c.cause != nil {
					require.ErrorIs(t, err, c.cause)
				}
				for _, answer := range []error{backend.ErrNotFound, backend.ErrConflict} {
					require.NotErrorIs(t, err, answer)
				}
				err = b.Create(ctx, record(bad, "alice", "data"))
				if c.value != nil {
					require.ErrorIs(t, err, backend.ErrExists, "the id is taken")
				} else {
					require.ErrorIs(t, err, backend.ErrNotApplied)
				}
				require.Equal(t, before, dump(t, client, bad))
				require.NoError(t, b.Touch(ctx, map[string]time.Time{bad: at, good: at}))
				require.Equal(t, at, get(t, b, good).LastUsed)
				if text, _ := c.value.(string); len(text) < 27 || text[0] != 1 {
					require.Equal(t, before, dump(t, client, bad), "only a whole header of this version is written to")
				}
				before = dump(t, client, bad)
				n, err := b.Purge(ctx, at, 10)
				require.NoError(t, err)
				require.Zero(t, n)
				require.Equal(t, before, dump(t, client, bad))

				ks, err := keystore.New(b, nil)
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, ks.Close()) })
				_, err = ks.Get(ctx, bad)
				require.ErrorIs(t, err, keystore.ErrCorrupt)

				require.NoError(t, b.Delete(ctx, bad))
				_, err = b.Get(ctx, bad)
				require.ErrorIs(t, err, backend.ErrNotFound)
				require.Equal(t, []string{good}, idsOf(listAll(t, b, "", 10)))
				create(t, b, record(bad, "bob", "new life"))
				require.Equal(t, []string{good}, idsOf(listAll(t, b, "alice", 10)))
			})
		})
	}
}

// dump is what is stored under an id.
func dump(t *testing.T, client *goredis.Client, id string) string {
	t.Helper()
	ctx := testContext(t)
	if client.Type(ctx, keyOf(id)).Val() != "string" {
		return fmt.Sprint(client.LRange(ctx, keyOf(id), 0, -1).Val())
	}
	return client.Get(ctx, keyOf(id)).Val()
}

// Many records that cannot be read do not keep Purge from those behind them.
func TestPurgeGetsPastDamage(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		ctx := testContext(t)
		b := handleOn(t, client, nil)
		for i := range 1000 {
			create(t, b, backend.Record{ID: fmt.Sprintf("k%04d", i), Owner: "o", PurgeAt: time.UnixMilli(int64(i + 1))})
			if i < 900 {
				require.NoError(t, client.Set(ctx, keyOf(fmt.Sprintf("k%04d", i)), "", 0).Err())
			}
		}
		n, err := b.Purge(ctx, time.UnixMilli(990), 10)
		require.NoError(t, err)
		assert.Equal(t, 10, n)
		n, err = b.Purge(ctx, time.UnixMilli(990), 1000)
		require.NoError(t, err)
		assert.Equal(t, 80, n)
		n, err = b.Purge(ctx, time.UnixMilli(990), 1000)
		require.NoError(t, err)
		assert.Zero(t, n)
		require.Len(t, listAll(t, b, "", 1000), 910)
	})
}
