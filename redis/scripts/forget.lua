-- Forget. Keys: the times of counts or of tallies of a shard, then some of these.
-- Arguments: now, in the unit of the times, then the member that each has in them.
--
-- Returns how many it deleted, and how many entries stay at the head of the times,
-- because what they stand for cannot be read.
local deleted, left = 0, 0
for i = 2, #KEYS do
  local key, member = KEYS[i], ARGV[i]
  local head = redis.pcall('GETRANGE', key, 0, 17)
  if type(head) == 'table' and not head.err:find('WRONGTYPE', 1, true) then
    return head
  end
  local at = type(head) == 'string' and head:match('^\1(%d*);')
  if head == '' and redis.call('EXISTS', key) == 0 or at == '' then
    redis.call('ZREM', KEYS[1], member)
  elseif not at then
    left = left + 1
  elseif tonumber(at) > tonumber(ARGV[1]) then
    redis.call('ZADD', KEYS[1], at, member)
  else
    redis.call('DEL', key)
    redis.call('ZREM', KEYS[1], member)
    deleted = deleted + 1
  end
end
return {deleted, left}
