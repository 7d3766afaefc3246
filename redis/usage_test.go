package redis_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
	"example.com/keystore/redis"
)

// addition is one of today, that is kept for 90 days.
func addition(subject string, addID uint64, n int64) backend.Addition {
	return backend.Addition{Subject: subject, Day: today, AddID: addID, Counts: map[string]int64{"12a": n}, PurgeAt: today.AddDate(0, 0, 91)}
}

func addUsage(t testing.TB, b *redis.Backend, additions ...backend.Addition) {
	t.Helper()
	require.NoError(t, b.AddUsage(testContext(t), additions))
}

// usage is the tallies of a subject from yesterday to tomorrow.
func usage(t testing.TB, b *redis.Backend, subject string) []backend.Tally {
	t.Helper()
	all, err := b.Usage(testContext(t), subject, today.AddDate(0, 0, -1), today.AddDate(0, 0, 2))
	require.NoError(t, err)
	return all
}

// The format, byte by byte, as docs/redis.md has it.
func TestTalliesByHand(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		addUsage(t, b, addition("abc", 0x0102030405060708, 3))
		addUsage(t, b, addition("abc", 0x0102030405060708, 3)) // a repeat
		second := addition("abc", 'A'<<56|'\n', 4)
		second.PurgeAt = time.UnixMilli(1_800_000_000_123)
		addUsage(t, b, second)
		want := map[string]any{
			"{keystore:43}:u:20487:abc": "\x011800000000123;12a=7;\nA\x00\x00\x00\x00\x00\x00\n\x01\x02\x03\x04\x05\x06\x07\x08",
			"{keystore:43}:up":          []string{"20487:abc 1800000000123"},
		}
		require.Equal(t, want, snapshot(t, client))
		require.Equal(t, []backend.Tally{{Day: today, Counts: map[string]int64{"12a": 7}}}, usage(t, b, "abc"))

		second.AddID, second.PurgeAt, second.Counts = 1, time.Time{}, map[string]int64{"2a": 1}
		addUsage(t, b, second)
		require.Equal(t, map[string]any{
			"{keystore:43}:u:20487:abc": "\x01;12a=7;2a=1;\n\x00\x00\x00\x00\x00\x00\x00\x01A\x00\x00\x00\x00\x00\x00\n\x01\x02\x03\x04\x05\x06\x07\x08",
		}, snapshot(t, client), "never to be purged")
	})
}

// Subjects are bytes, also those that mean something in a name, and one is in one
// shard.
func TestOddSubjects(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		calls := recordCalls(client)
		subjects := []string{"{a}", "}", "1:a", ":", "a:1", " ", "\r\n", "\U0001F511", strings.Repeat("o", backend.MaxSubjectLen)}
		for i, subject := range subjects {
			addUsage(t, b, addition(subject, 1, int64(i+1)))
		}
		for i, subject := range subjects {
			require.Equal(t, []backend.Tally{{Day: today, Counts: map[string]int64{"12a": int64(i + 1)}}}, usage(t, b, subject), subject)
		}
		for _, args := range calls.named("evalsha") {
			keys := scriptKeys(args)
			require.Equal(t, slot(keys[0].(string)), slot(keys[1].(string)))
		}
		n, err := b.PurgeUsage(testContext(t), today.AddDate(0, 0, 91), 100)
		require.NoError(t, err)
		require.Equal(t, len(subjects), n)
		require.Empty(t, snapshot(t, client))
	})
}

// A flush of many tallies is a few scripts, of at most 128 tallies each.
func TestAdditionsInChunks(t *testing.T) {
	client := clientOf(t, miniOptions(t))
	b := handleOn(t, client, nil)
	calls := recordCalls(client)
	var all []backend.Addition
	for i := range 300 {
		a := addition("one subject", rand.Uint64(), 1)
		a.Day = today.AddDate(0, 0, -i)
		all = append(all, a)
	}
	addUsage(t, b, all...)
	var lengths []int
	for _, args := range append(calls.named("evalsha"), calls.named("eval")...) {
		lengths = append(lengths, len(scriptKeys(args))-1)
	}
	require.Equal(t, []int{128, 128, 44, 128, 128, 44}, lengths, "by digest, which miniredis does not know, and by source")
	tallies, err := b.Usage(testContext(t), "one subject", today.AddDate(0, 0, -365), today.AddDate(0, 0, 1))
	require.NoError(t, err)
	require.Len(t, tallies, 300)
	_, err = b.Usage(testContext(t), "one subject", today.AddDate(0, 0, -366), today.AddDate(0, 0, 1))
	require.Error(t, err)
	n, err := b.PurgeUsage(testContext(t), today.AddDate(1, 0, 0), 250)
	require.NoError(t, err)
	require.Equal(t, 250, n)
	n, err = b.PurgeUsage(testContext(t), today.AddDate(1, 0, 0), 250)
	require.NoError(t, err)
	require.Equal(t, 50, n)
}

// A tally that cannot be read is an error, and is left as it is; to the others of
// the call is added. Purge gets past it.
func TestDamagedTallies(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		ctx := testContext(t)
		b := handleOn(t, client, nil)
		addUsage(t, b, addition("bad", 1, 1))
		key := namesOf("bad").Tallies + "20487:bad"
		sound := client.Get(ctx, key).Val()
		good := int64(0)
		for name, value := range map[string]any{
			"empty":                "",
			"text":                 "hello",
			"of a later version":   "\x02" + sound[1:],
			"cut in the counts":    sound[:18],
			"cut in the ids":       sound[:len(sound)-1],
			"a time that is none":  "\x01x" + sound[2:],
			"a count that is none": strings.Replace(sound, "=1;", "=x;", 1),
			"something at the end": strings.Replace(sound, "\n", "x\n", 1),
			"a count below 0":      strings.Replace(sound, "=1;", "=-1;", 1),
			"no string":            nil,
		} {
			require.NoError(t, client.Del(ctx, key).Err())
			if value != nil {
				require.NotEqual(t, sound, value, name)
				require.NoError(t, client.Set(ctx, key, value, 0).Err())
			} else {
				require.NoError(t, client.LPush(ctx, key, "x").Err())
			}
			before := client.Dump(ctx, key).Val()
			good++
			err := b.AddUsage(ctx, []backend.Addition{addition("bad", rand.Uint64(), 1), addition("good", rand.Uint64(), 1)})
			require.ErrorIs(t, err, backend.ErrDamagedTally, name)
			require.ErrorContains(t, err, `1, "20487:bad" first`)
			require.NotErrorIs(t, err, backend.ErrNotApplied)
			noAnswer(t, err)
			require.Equal(t, before, client.Dump(ctx, key).Val(), name)
			require.Equal(t, map[string]int64{"12a": good}, usage(t, b, "good")[0].Counts)
			_, err = b.Usage(ctx, "bad", today, noon)
			require.Error(t, err, name)
		}
		require.NoError(t, client.Del(ctx, key).Err())
		require.NoError(t, client.Set(ctx, key, "hello", 0).Err())
		for i := range 300 {
			a := addition("good", 1, 1)
			a.Day = today.AddDate(0, 0, -1-i)
			addUsage(t, b, a)
		}
		n, err := b.PurgeUsage(ctx, today.AddDate(0, 0, 91), 1000)
		require.NoError(t, err)
		require.Equal(t, 301, n)
		require.NoError(t, client.Del(ctx, key).Err())
		addUsage(t, b, addition("bad", 1, 1))
	})
}

// Sums go up to 1<<53 and stay there.
func TestLargeTallies(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		for i := range uint64(9) {
			addUsage(t, b, addition("s", i, backend.MaxCount))
			require.Equal(t, min(int64(i+1)*backend.MaxCount, 1<<53), usage(t, b, "s")[0].Counts["12a"])
		}
		for name, bad := range map[string]func(*backend.Addition){
			"no subject":        func(a *backend.Addition) { a.Subject = "" },
			"a subject":         func(a *backend.Addition) { a.Subject = strings.Repeat("x", backend.MaxSubjectLen+1) },
			"a day":             func(a *backend.Addition) { a.Day = noon },
			"a day before 1970": func(a *backend.Addition) { a.Day = time.Unix(-24*60*60, 0) },
			"a purge time":      func(a *backend.Addition) { a.PurgeAt = time.Unix(1<<53, 0) },
			"a count":           func(a *backend.Addition) { a.Counts["12a"] = 0 },
			"a large count":     func(a *backend.Addition) { a.Counts["12a"] = backend.MaxCount + 1 },
			"a name":            func(a *backend.Addition) { a.Counts["a=1;b"] = 1 },
			"no name":           func(a *backend.Addition) { a.Counts[""] = 1 },
			"many names": func(a *backend.Addition) {
				for i := range backend.MaxTallyNames {
					a.Counts[fmt.Sprint(i)] = 1
				}
			},
		} {
			a := addition("s2", 1, 1)
			bad(&a)
			err := b.AddUsage(testContext(t), []backend.Addition{addition("s2", 1, 1), a})
			require.ErrorIs(t, err, backend.ErrNotApplied, name)
		}
		require.Empty(t, usage(t, b, "s2"))
	})
}

// What the server lost of the times, or of what they stand for, is passed over or
// mended.
func TestLostPartsOfCountsAndTallies(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		ctx := testContext(t)
		far := today.AddDate(1, 0, 0)
		for i := range 300 {
			id := fmt.Sprintf("k%03d", i)
			spend(t, b, spendOf(id, 1, 1))
			addUsage(t, b, addition(id, 1, 1))
			if i < 290 {
				require.NoError(t, client.Del(ctx, countsKey(id), namesOf(id).Tallies+"20487:"+id).Err())
			}
		}
		early := "k290"
		require.NoError(t, client.ZAdd(ctx, namesOf(early).Ends, goredis.Z{Score: 1, Member: early}).Err())
		require.NoError(t, client.ZAdd(ctx, namesOf(early).TallyAt, goredis.Z{Score: 1, Member: "20487:" + early}).Err())
		for name, purge := range map[string]func(time.Time, int) (int, error){
			"counts":  func(now time.Time, limit int) (int, error) { return b.PurgeCounts(ctx, now, limit) },
			"tallies": func(now time.Time, limit int) (int, error) { return b.PurgeUsage(ctx, now, limit) },
		} {
			for _, c := range []struct {
				now    time.Time
				limit  int
				purged int
			}{{time.Time{}, 10, 0}, {noon, 10, 0}, {far, 4, 4}, {far, 1000, 6}, {time.Unix(1<<60, 0), 10, 0}} {
				n, err := purge(c.now, c.limit)
				require.NoError(t, err, name)
				require.Equal(t, c.purged, n, name)
			}
		}
		require.Empty(t, snapshot(t, client), "nor is anything left of the lost ones")
	})
}
