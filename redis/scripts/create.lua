-- Create. Keys: the record, the ids, the owners, the purge times of its shard.
-- Arguments: channel, what follows the id in the message, id, owners' member,
-- purge score ("": none), record.
local old = redis.call('GET', KEYS[1])
local new = ARGV[6]
if old then
  -- A repeat finds what it wrote itself, but for the time of the last use (bytes
  -- 10 to 17), which Touch may have set since.
  if #old == #new and old:sub(1, 9) == new:sub(1, 9) and old:sub(18) == new:sub(18) then
    return 'ok'
  end
  return 'exists'
end
redis.call('ZADD', KEYS[2], 0, ARGV[3])
redis.call('ZADD', KEYS[3], 0, ARGV[4])
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[4], ARGV[5], ARGV[3])
end
redis.call('PUBLISH', ARGV[1], ARGV[3] .. ARGV[2])
-- Last, so that a script that stops at an error has not written the record.
redis.call('SET', KEYS[1], new)
return 'ok'
