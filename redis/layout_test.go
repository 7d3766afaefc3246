package redis_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"example.com/keystore/redis"
)

// tagsOfKeystore are the numbers in the tags of the shards 0 to 63 in the namespace
// "keystore". They are the format: a change here loses the keys of every store.
var tagsOfKeystore = []int{
	58, 50, 43, 342, 61, 69, 3, 72, 21, 29, 333, 32, 18, 10, 153, 302,
	59, 51, 42, 343, 60, 68, 2, 73, 20, 28, 332, 33, 19, 11, 152, 303,
	353, 52, 41, 49, 63, 362, 1, 9, 23, 322, 38, 30, 313, 12, 151, 159,
	352, 53, 40, 48, 62, 363, 0, 8, 22, 323, 39, 31, 312, 13, 150, 158,
}

func TestTagsOfTheDefaultNamespace(t *testing.T) {
	for n, s := range redis.Names("keystore") {
		require.Equal(t, fmt.Sprintf("{keystore:%d}:k:", tagsOfKeystore[n]), s.Record)
		require.Equal(t, fmt.Sprintf("{keystore:%d}:a", tagsOfKeystore[n]), s.IDs)
		require.Equal(t, fmt.Sprintf("{keystore:%d}:o", tagsOfKeystore[n]), s.Owners)
		require.Equal(t, fmt.Sprintf("{keystore:%d}:p", tagsOfKeystore[n]), s.Purge)
		require.Equal(t, fmt.Sprintf("{keystore:%d}:c:", tagsOfKeystore[n]), s.Counts)
		require.Equal(t, fmt.Sprintf("{keystore:%d}:ce", tagsOfKeystore[n]), s.Ends)
		require.Equal(t, fmt.Sprintf("{keystore:%d}:u:", tagsOfKeystore[n]), s.Tallies)
		require.Equal(t, fmt.Sprintf("{keystore:%d}:up", tagsOfKeystore[n]), s.TallyAt)
	}
	require.Equal(t, "keystore:changes", redis.Channel("keystore"))
	// Where three ids are, worked out by other means: CRC-32 (IEEE) of "abc" is 352441c2.
	require.Equal(t, 0x352441c2%64, redis.ShardOf("abc"))
	require.Equal(t, 0xcbf43926%64, redis.ShardOf("123456789"))
	require.Equal(t, 0, redis.ShardOf(""))
	require.Equal(t, 0xeae70333%64, redis.ShardOf("0GzUvJ2MabcdWXYZ")) // the example of docs/redis.md
	require.Equal(t, "{keystore:48}:k:", redis.Names("keystore")[51].Record)
}

// The slot of shard n is in [256n, 256n+255], and the number of its tag is the
// smallest for which that holds.
func TestEveryShardHasItsRangeOfSlots(t *testing.T) {
	for _, namespace := range []string{"keystore", "k", "0", "-", strings.Repeat("Z", 64), "a.b_c-d"} {
		number := make([]int, 64)
		for n, s := range redis.Names(namespace) {
			assert.Equal(t, n, slot(s.IDs)/256, "%s: shard %d", namespace, n)
			_, err := fmt.Sscanf(strings.TrimPrefix(s.IDs, "{"+namespace), ":%d}:a", &number[n])
			require.NoError(t, err, s.IDs)
		}
		for i := range slices.Max(number) {
			n := slot(fmt.Sprintf("%s:%d", namespace, i)) / 256
			assert.LessOrEqual(t, number[n], i, "%s: shard %d", namespace, n)
		}
	}
}

// On clusters that split the slots evenly, masters hold as many shards and records,
// give or take one shard and what chance does.
func TestShardsSpreadEvenly(t *testing.T) {
	const records = 10_000
	names := redis.Names("keystore")
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	for _, masters := range []int{1, 2, 3, 5, 6, 16, 32, 64} {
		shards, perMaster := make([]int, masters), make([]int, masters)
		for _, s := range names {
			shards[slot(s.IDs)*masters/16384]++
		}
		for range records {
			id := []byte("0GzUvJ2M")
			for range 8 {
				id = append(id, alphabet[random.IntN(len(alphabet))])
			}
			s := names[crc32.ChecksumIEEE(id)%64]
			require.True(t, bytes.HasPrefix([]byte(s.Record), []byte("{keystore:")))
			perMaster[slot(s.Record+string(id))*masters/16384]++
		}
		assert.LessOrEqual(t, slices.Max(shards)-slices.Min(shards), 1, "%d masters have %v shards", masters, shards)
		share := float64(records) / 64 // of a shard
		for m, n := range perMaster {
			assert.InEpsilon(t, share*float64(shards[m]), n, 0.5, "%d masters have %v records", masters, perMaster)
		}
		if masters == 3 {
			t.Logf("3 masters: shards %v, records %v", shards, perMaster)
		}
	}
}

func TestNamespaces(t *testing.T) {
	client := clientOf(t, miniOptions(t))
	for _, good := range []string{"", "a", "A.b_c-9", strings.Repeat("x", 64)} {
		_, err := redis.New(client, &redis.Options{Namespace: good})
		assert.NoError(t, err, good)
	}
	for _, bad := range []string{" ", "a b", "a:b", "a/b", "{a}", "a}", "ä", "a*", "a\x00", strings.Repeat("x", 65)} {
		_, err := redis.New(client, &redis.Options{Namespace: bad})
		assert.ErrorContains(t, err, "Namespace", bad)
	}
}
