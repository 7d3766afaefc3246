package redis_test

import (
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"example.com/keystore/backend"
)

// Where most ids are in one shard the first few of each are not enough: that shard is
// asked again, and no other.
func TestListOfLopsidedShards(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		var want, wantAlice []string
		for i := 0; len(want) < 400; i++ {
			id := fmt.Sprintf("k%06d", i)
			shard := crc32.ChecksumIEEE([]byte(id)) % 64
			if shard != 7 && i%40 != 0 {
				continue
			}
			owner := "alice"
			if i%3 == 0 {
				owner = "bob"
			} else {
				wantAlice = append(wantAlice, id)
			}
			create(t, b, record(id, owner, id))
			want = append(want, id)
		}
		for _, limit := range []int{1, 2, 7, 50, 399, 400, 401, 1000} {
			require.Equal(t, want, idsOf(listAll(t, b, "", limit)), "pages of %d", limit)
			require.Equal(t, wantAlice, idsOf(listAll(t, b, "alice", limit)), "pages of %d", limit)
		}
		calls := recordCalls(client)
		page, err := b.List(testContext(t), backend.ListOptions{Limit: 50})
		require.NoError(t, err)
		require.Len(t, page, 50)
		asked := calls.named("zrangebylex")
		require.Greater(t, len(asked), 64)
		for _, args := range asked[64:] {
			require.Equal(t, namesOf(want[1]).IDs, args[1], "only the shard that lags")
		}
	})
}

// A page of large records is short.
func TestPagesOfLargeRecords(t *testing.T) {
	onServers(t, func(t *testing.T, client *goredis.Client) {
		b := handleOn(t, client, nil)
		large := strings.Repeat("x", backend.MaxDataLen)
		var want []string
		for i := range 300 {
			r := record(fmt.Sprintf("k%03d", i), "o", "small")
			if i%2 == 1 || i > 150 {
				r.Data = []byte(large)
			}
			create(t, b, r)
			want = append(want, r.ID)
		}
		var got []string
		after := ""
		for {
			page, err := b.List(testContext(t), backend.ListOptions{After: after, Limit: 1000})
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			size := 0
			for _, r := range page {
				size += len(r.Data)
			}
			require.LessOrEqual(t, size, 12<<20)
			got = append(got, idsOf(page)...)
			after = page[len(page)-1].ID
		}
		require.Equal(t, want, got)
		require.True(t, slices.IsSorted(got))
	})
}
