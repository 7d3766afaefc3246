-- Delete. Keys: the record, the ids, the owners, the purge times of its shard.
-- Arguments: channel, what follows the id in the message, id.
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[1]) -- which a replica refuses, whose master may have the record
  return 'none'
end
-- A key that holds no string is an error here, and is deleted like a record whose
-- owner cannot be told.
local old = redis.pcall('GET', KEYS[1])
if type(old) == 'table' and not old.err:find('WRONGTYPE', 1, true) then
  return old
end
redis.call('PUBLISH', ARGV[1], ARGV[3] .. ARGV[2])
-- The last that can stop the script: an error says that the record is there as it
-- was, and in every index. What is left in an index is harmless, without a record.
redis.call('DEL', KEYS[1])
redis.pcall('ZREM', KEYS[2], ARGV[3])
redis.pcall('ZREM', KEYS[4], ARGV[3])
if type(old) == 'string' and #old >= 27 and old:byte(1) == 1 then
  local owner = old:sub(28, 27 + old:byte(26) * 256 + old:byte(27))
  redis.pcall('ZREM', KEYS[3], owner .. '\0' .. ARGV[3])
end
return 'ok'
