-- Reset. Keys: the counts, the ends of its shard. Arguments: id.
redis.call('DEL', KEYS[1])
redis.pcall('ZREM', KEYS[2], ARGV[1]) -- an entry that is left over is Forget's to remove
return 'ok'
