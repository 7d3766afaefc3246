-- Add. Keys: the purge times of a shard's tallies, then tallies of it. Arguments: for
-- each of them its member in the purge times, the addition's id, the purge time
-- ("": never), and what is added ("07a=12;07x=3;").
--
-- Returns the members of the tallies that are damaged. These are left as they are.
local damaged = {}
for i = 2, #KEYS do
  local key, n = KEYS[i], 4 * i - 7
  local member, id, purge, added = ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3]
  local old = redis.pcall('GET', key)
  if type(old) == 'table' and not old.err:find('WRONGTYPE', 1, true) then
    return old
  end
  if not old then
    old = '\1;\n'
  end
  local known, counts, ids
  if type(old) == 'string' then
    known, counts, ids = old:match('^\1(%d*)(;[^\n]*)\n(.*)$')
  end
  if not known or counts:gsub('%w+=%d+;', '') ~= ';' or #ids % 8 ~= 0 then
    damaged[#damaged + 1] = member
  else
    local repeated = ids:find(id, 1, true)
    while repeated and repeated % 8 ~= 1 do -- parts of two of them
      repeated = ids:find(id, repeated + 1, true)
    end
    if not repeated then
      for name, count in added:gmatch('(%w+)=(%d+)') do
        local from, to, had = counts:find(';' .. name .. '=(%d+);')
        if from then
          local sum = string.format('%.0f', math.min(had + count, 9007199254740992)) -- 1<<53
          counts = counts:sub(1, from) .. name .. '=' .. sum .. counts:sub(to)
        else
          counts = counts .. name .. '=' .. count .. ';'
        end
      end
      if purge ~= known and purge ~= '' then
        redis.call('ZADD', KEYS[1], purge, member)
      end
      redis.call('SET', key, '\1' .. purge .. counts .. '\n' .. id .. ids:sub(1, 248))
      if purge ~= known and purge == '' then
        redis.pcall('ZREM', KEYS[1], member) -- an entry that is left over is Forget's to remove
      end
    end
  end
end
return damaged
