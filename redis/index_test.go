package redis_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/redis"
)

// The format, spelt out a second time: it must never change.

func namesOf(id string) redis.ShardNames {
	return redis.Names("keystore")[crc32.ChecksumIEEE([]byte(id))%64]
}

func keyOf(id string) string { return namesOf(id).Record + id }

func envelopeOf(r backend.Record) string {
	b := []byte{1}
	b = binary.BigEndian.AppendUint64(b, r.Revision)
	for _, t := range []time.Time{r.LastUsed, r.PurgeAt} {
		ms := uint64(0)
		if !t.IsZero() {
			ms = uint64(t.UnixMilli()) + 1<<63
		}
		b = binary.BigEndian.AppendUint64(b, ms)
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(r.Owner)))
	return string(b) + r.Owner + string(r.Data)
}

// snapshot is all that is in a database: strings, and sorted sets as
// "member score".
func snapshot(t *testing.T, client *goredis.Client) map[string]any {
	t.Helper()
	ctx := testContext(t)
	all := make(map[string]any)
	keys, err := client.Keys(ctx, "*").Result()
	require.NoError(t, err)
	for _, key := range keys {
		ttl, err := client.PTTL(ctx, key).Result()
		require.NoError(t, err)
		require.Equal(t, time.Duration(-1), ttl, "%s: nothing but Purge and Delete forgets", key)
		switch kind := client.Type(ctx, key).Val(); kind {
		case "string":
			all[key] = client.Get(ctx, key).Val()
		case "zset":
			var members []string
			for _, z := range client.ZRangeWithScores(ctx, key, 0, -1).Val() {
				members = append(members, fmt.Sprintf("%s %.0f", z.Member, z.Score))
			}
			slices.Sort(members)
			all[key] = members
		default:
			t.Fatalf("%s is a %s", key, kind)
		}
	}
	return all
}

// wanted is the snapshot that records ask for.
func wanted(records map[string]backend.Record) map[string]any {
	all := make(map[string]any)
	add := func(key, member string, score int64) {
		members, _ := all[key].([]string)
		members = append(members, fmt.Sprintf("%s %d", member, score))
		slices.Sort(members)
		all[key] = members
	}
	for id, r := range records {
		n := namesOf(id)
		all[n.Record+id] = envelopeOf(r)
		add(n.IDs, id, 0)
		add(n.Owners, r.Owner+"\x00"+id, 0)
		if !r.PurgeAt.IsZero() {
			add(n.Purge, id, r.PurgeAt.UnixMilli())
		}
	}
	return all
}

// Whatever is done, the database holds what the records ask for and nothing else.
func TestIndexesFollowRecords(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		ctx := context.Background()
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		records := make(map[string]backend.Record)
		base := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		someTime := func() time.Time {
			if random.IntN(3) == 0 {
				return time.Time{}
			}
			return base.Add(time.Duration(random.IntN(100)) * time.Millisecond)
		}
		owners := []string{"alice", "alic", "alicee", "ä\U0001F511", " ", "*", strings.Repeat("o", backend.MaxOwnerLen)}
		for step := range 1500 {
			id := fmt.Sprintf("id-%02d", random.IntN(40))
			r, there := records[id]
			switch random.IntN(6) {
			case 0, 1:
				n := backend.Record{ID: id, Owner: owners[random.IntN(len(owners))], Data: fmt.Append(nil, "c", step), PurgeAt: someTime(), Revision: 1}
				if err := b.Create(ctx, n); there {
					require.ErrorIs(t, err, backend.ErrExists)
				} else {
					require.NoError(t, err)
					records[id] = n
				}
			case 2, 3:
				n := r
				n.ID, n.Data, n.PurgeAt = id, fmt.Append(nil, "u", step), someTime()
				if random.IntN(4) == 0 {
					n.Revision += 3
				}
				err := b.Update(ctx, n)
				switch {
				case !there:
					require.ErrorIs(t, err, backend.ErrNotFound)
				case n.Revision != r.Revision:
					require.ErrorIs(t, err, backend.ErrConflict)
				default:
					require.NoError(t, err)
					n.Revision++
					records[id] = n
				}
			case 4:
				at := base.Add(time.Duration(random.IntN(1000)) * time.Millisecond)
				require.NoError(t, b.Touch(ctx, map[string]time.Time{id: at, "unknown": at}))
				if there && at.After(r.LastUsed) {
					r.LastUsed = at
					records[id] = r
				}
			case 5:
				if random.IntN(3) > 0 {
					require.NoError(t, b.Delete(ctx, id))
					delete(records, id)
					break
				}
				now, limit := base.Add(time.Duration(random.IntN(20))*time.Millisecond), 1+random.IntN(3)
				n, err := b.Purge(ctx, now, limit)
				require.NoError(t, err)
				gone := 0
				for id, r := range records {
					if _, err := b.Get(ctx, id); errors.Is(err, backend.ErrNotFound) {
						require.False(t, r.PurgeAt.IsZero() || r.PurgeAt.After(now), "%v was purged at %v", r, now)
						delete(records, id)
						gone++
					}
				}
				require.Equal(t, gone, n)
				require.LessOrEqual(t, n, limit)
			}
			if step%100 == 0 {
				require.Equal(t, wanted(records), snapshot(t, client), "step %d", step)
			}
		}
		require.Equal(t, wanted(records), snapshot(t, client))
		for id := range records {
			require.NoError(t, b.Delete(ctx, id))
		}
		require.Empty(t, snapshot(t, client), "an empty store leaves nothing")
	})
}

// Values at every limit of the contract, and strings that mean something to
// somebody else, are kept as they are.
func TestOddValues(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		bytes := make([]byte, 256)
		for i := range bytes {
			bytes[i] = byte(i)
		}
		records := make(map[string]backend.Record)
		for i, r := range []backend.Record{
			{ID: strings.Repeat("-", backend.MaxIDLen), Owner: strings.Repeat("\xf0\x9f\x94\x91", 64), Data: []byte(strings.Repeat(string(bytes), 256))},
			{ID: "_", Owner: `{"$ne":""}`, Data: []byte{}},
			{ID: "0", Owner: "a.b$c", Data: []byte("\r\n$-1\r\n")},
			{ID: "z", Owner: "{keystore:1}", Data: []byte{0}},
			{ID: "NULL", Owner: "\x01", Data: bytes, PurgeAt: time.UnixMilli(0).UTC()},
			{ID: "KEYS", Owner: "\x7f\u00a0\u200b", Data: bytes, PurgeAt: time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)},
			{ID: "1e5", Owner: "[a", Data: bytes, PurgeAt: time.UnixMilli(1<<53 - 1).UTC(), LastUsed: time.Time{}},
			{ID: "nan", Owner: "(a", Data: bytes, PurgeAt: time.UnixMilli(1).UTC()},
		} {
			create(t, b, r)
			at := time.Date(9999, 1, 1, 0, 0, 0, i*1e6, time.UTC)
			require.NoError(t, b.Touch(testContext(t), map[string]time.Time{r.ID: at}))
			require.NoError(t, b.Touch(testContext(t), map[string]time.Time{r.ID: time.UnixMilli(1 << 40)}), "earlier: no effect")
			r.Revision, r.LastUsed = 1, at
			require.Equal(t, r, get(t, b, r.ID))
			require.Equal(t, []backend.Record{r}, listAll(t, b, r.Owner, 1))
			records[r.ID] = r
		}
		require.Equal(t, wanted(records), snapshot(t, client))
		n, err := b.Purge(testContext(t), time.UnixMilli(1<<53-1), 100)
		require.NoError(t, err)
		require.Equal(t, 4, n, "what is due, and what never is stays")
	})
}

// Times that a double does not hold are kept exactly all the same, and purged by
// what is kept.
func TestTimesBeyondTheScores(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		ctx := testContext(t)
		far := time.UnixMilli(1<<60 + 1).UTC()
		for i, at := range []time.Time{far, far.Add(time.Millisecond), far.Add(-time.Millisecond)} {
			create(t, b, backend.Record{ID: fmt.Sprint(i), Owner: "o", PurgeAt: at})
			require.Equal(t, at, get(t, b, fmt.Sprint(i)).PurgeAt)
		}
		n, err := b.Purge(ctx, far, 10)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		n, err = b.Purge(ctx, far, 10)
		require.NoError(t, err)
		require.Zero(t, n, "it ends, though the index has it that one is due")
		require.Equal(t, []string{"1"}, idsOf(listAll(t, b, "", 10)))
	})
}

// What the server lost of the indexes, or of the records behind them, does no harm,
// and Purge mends what it comes across.
func TestLostParts(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		ctx := testContext(t)
		at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		for i := range 300 {
			create(t, b, backend.Record{ID: fmt.Sprintf("k%03d", i), Owner: "alice", PurgeAt: at})
		}
		for i := range 290 {
			require.NoError(t, client.Del(ctx, keyOf(fmt.Sprintf("k%03d", i))).Err())
		}
		want := []string{"k290", "k291", "k292", "k293", "k294", "k295", "k296", "k297", "k298", "k299"}
		require.Equal(t, want, idsOf(listAll(t, b, "", 7)), "pages of nothing are not the end")
		require.Equal(t, want, idsOf(listAll(t, b, "alice", 7)))
		// Index entries that tell another time than the record: earlier, and none.
		require.NoError(t, client.ZAdd(ctx, namesOf("k290").Purge, goredis.Z{Score: 1, Member: "k290"}).Err())
		never := get(t, b, "k291")
		never.PurgeAt = time.Time{}
		require.NoError(t, b.Update(ctx, never))
		require.NoError(t, client.ZAdd(ctx, namesOf("k291").Purge, goredis.Z{Score: 1, Member: "k291"}).Err())

		n, err := b.Purge(ctx, time.UnixMilli(5), 1)
		require.NoError(t, err)
		require.Zero(t, n)
		require.InEpsilon(t, float64(at.UnixMilli()), client.ZScore(ctx, namesOf("k290").Purge, "k290").Val(), 0, "mended")
		require.ErrorIs(t, client.ZScore(ctx, namesOf("k291").Purge, "k291").Err(), goredis.Nil, "mended")

		n, err = b.Purge(ctx, at, 1000)
		require.NoError(t, err)
		require.Equal(t, 9, n)
		require.Equal(t, []string{"k291"}, idsOf(listAll(t, b, "", 7)))
	})
}
