-- Touch. Keys: records of one shard. Arguments: for each of them the time of its
-- last use, as the 8 bytes of the header.

-- Strings are not compared with <, which follows the locale of the server.
local function later(a, b)
  for i = 1, 8 do
    if a:byte(i) ~= b:byte(i) then
      return a:byte(i) > b:byte(i)
    end
  end
  return false
end

for i, key in ipairs(KEYS) do
  local head = redis.pcall('GETRANGE', key, 0, 26)
  if type(head) == 'table' and not head.err:find('WRONGTYPE', 1, true) then
    return head
  end
  if type(head) == 'string' and #head == 27 and head:byte(1) == 1 and later(ARGV[i], head:sub(10, 17)) then
    redis.call('SETRANGE', key, 9, ARGV[i])
  end
end
return 'ok'
