-- Update. Keys: the record, the purge times of its shard. Arguments: channel, what
-- follows the id in the message, id, the revision that must be stored, the one
-- after it, the purge time (these three as the 8 bytes of the header), purge score
-- ("": none), data.
local old = redis.call('GET', KEYS[1])
if not old then
  return 'none'
end
if old ~= '' and old:byte(1) ~= 1 then
  return 'version'
end
local owner = 27 -- where the owner ends
if #old >= owner then
  owner = owner + old:byte(26) * 256 + old:byte(27)
end
if #old < owner then
  return 'malformed'
end
local revision, purge, data = old:sub(2, 9), old:sub(18, 25), ARGV[8]
if revision == ARGV[5] and purge == ARGV[6] and old:sub(owner + 1) == data then
  return 'ok' -- a repeat
end
if revision ~= ARGV[4] then
  return 'conflict'
end
redis.call('PUBLISH', ARGV[1], ARGV[3] .. ARGV[2])
if purge ~= ARGV[6] and ARGV[7] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[7], ARGV[3])
end
-- The last command that can end the script, so that one that stops at an error has
-- not written the record, nor lost its purge time.
redis.call('SET', KEYS[1], old:sub(1, 1) .. ARGV[5] .. old:sub(10, 17) .. ARGV[6] .. old:sub(26, owner) .. data)
if purge ~= ARGV[6] and ARGV[7] == '' then
  redis.pcall('ZREM', KEYS[2], ARGV[3]) -- an entry that is left over is Purge's to remove
end
return 'ok'
