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

// ParseURL returns the options for go-redis that a URL leads to.
func ParseURL(rawURL string) (any, error) {
	at, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	security, err := at.tls.config(nil)
	if err != nil {
		return nil, err
	}
	client := at.client(security)
	defer client.Close()
	switch {
	case at.cluster != nil:
		return at.cluster, nil
	case at.sentinel != nil:
		return at.sentinel, nil
	}
	return at.single, nil
}

func Code(err error) string { return code(err) }

func Certain(err error) bool { return certain(err) }

func WorthRetrying(err error) bool { return worthRetrying(err) }

// GatherFrom has a handle gather Gets when more than n are under way.
func GatherFrom(b *Backend, n int) { b.coalescer.few = int64(n) }
