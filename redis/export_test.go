package redis

import goredis "github.com/redis/go-redis/v9"

// What tests need to see of the driver.

func Client(b *Backend) goredis.UniversalClient { return b.client }

func RecordKey(b *Backend, id string) string { return b.names.key(id) }

type ShardNames struct{ Record, IDs, Owners, Purge string }

func Names(namespace string) []ShardNames {
	var all []ShardNames
	for _, s := range newLayout(namespace).shards {
		all = append(all, ShardNames{s.record, s.ids, s.owners, s.purge})
	}
	return all
}

func Channel(namespace string) string { return newLayout(namespace).channel }

func ShardOf(id string) int { return shardOf(id) }

func Digest(name string) string { return mustScript(name).sha1 }

func Source(name string) string { return mustScript(name).source }
