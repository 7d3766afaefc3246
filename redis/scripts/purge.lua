-- Purge. Keys: the ids, the owners, the purge times of a shard, then records of
-- it. Arguments: channel, what follows the id in the messages, now as the 8 bytes of
-- a header's purge time, then the id of each of the records, as the purge times
-- named it.
--
-- Returns how many records it deleted, and how many entries stay at the head of
-- the purge times, because their record cannot be read.

-- Strings are not compared with <, which follows the locale of the server.
local function later(a, b)
  for i = 1, 8 do
    if a:byte(i) ~= b:byte(i) then
      return a:byte(i) > b:byte(i)
    end
  end
  return false
end

-- score is the number of Unix milliseconds, whose sign bit is flipped in the header.
local function score(time)
  local high, low = 0, 0
  for i = 1, 4 do
    high = high * 256 + time:byte(i)
    low = low * 256 + time:byte(i + 4)
  end
  return string.format('%.0f', (high - 2147483648) * 4294967296 + low)
end

local now = ARGV[3]
local deleted, left = 0, 0
for i = 4, #KEYS do
  local key, id = KEYS[i], ARGV[i]
  local head = redis.pcall('GETRANGE', key, 0, 26)
  if type(head) == 'table' and not head.err:find('WRONGTYPE', 1, true) then
    return head
  end
  if head == '' and redis.call('EXISTS', key) == 0 then
    redis.call('ZREM', KEYS[1], id)
    redis.call('ZREM', KEYS[3], id)
  elseif type(head) == 'table' or #head < 27 or head:byte(1) ~= 1 then
    left = left + 1
  else
    local at = head:sub(18, 25)
    if at == '\0\0\0\0\0\0\0\0' then
      redis.call('ZREM', KEYS[3], id)
    elseif later(at, now) then
      redis.call('ZADD', KEYS[3], score(at), id)
      if score(at) == score(now) then -- so far in the future that scores are not exact
        left = left + 1
      end
    else
      local length = head:byte(26) * 256 + head:byte(27)
      local owner = redis.call('GETRANGE', key, 27, 26 + length)
      if #owner < length then
        left = left + 1
      else
        redis.call('PUBLISH', ARGV[1], id .. ARGV[2])
        redis.call('DEL', key)
        redis.call('ZREM', KEYS[1], id)
        redis.call('ZREM', KEYS[2], owner .. '\0' .. id)
        redis.call('ZREM', KEYS[3], id)
        deleted = deleted + 1
      end
    end
  end
end
return {deleted, left}
