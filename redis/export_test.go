package redis

import goredis "github.com/redis/go-redis/v9"

// What tests need to see of a backend.

func Client(b *Backend) goredis.UniversalClient { return b.client }

func RecordKey(b *Backend, id string) string { return b.names.key(id) }
