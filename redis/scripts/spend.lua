-- Spend. Keys: the counts, the ends of its shard. Arguments: the spend's id, its cost,
-- what counts begin with whose last spend was in the same windows, as a pattern and as
-- a format, and how much each of the windows may hold.
--
-- Returns "1", or "0" if nothing was spent, and what the counts then begin with.
local old = redis.call('GET', KEYS[1]) or '\1;\n'
local stop = old:find('\n', 1, true) or 0
if stop == 0 or (#old - stop) % 8 ~= 0 then
  return 'damaged'
end
local repeated = old:find(ARGV[1], stop, true)
while repeated and (repeated - stop) % 8 ~= 1 do -- parts of two ids
  repeated = old:find(ARGV[1], repeated + 1, true)
end

local found = {old:find(ARGV[3])} -- from, to, the end of the last window, counts
local latest, known, rest = found[3], found[3], nil
if latest then
  rest = old:sub(found[2], stop)
else
  local windows, kept, others, last, n = {}, {}, {}, 0, 3
  for kind, length, start in ARGV[4]:gmatch(';([%w_-]+/(%d+)),(%d+)') do
    n = n + 1
    found[n], windows[kind .. ',' .. start], kept[kind] = 0, n, 1
    last = math.max(last, start + length)
  end
  known, rest = old:match('^\1(%d*)(;[^\n]*)\n')
  rest = known and rest:gsub(';([%w_-]+/(%d+)),(%d+)=(%d+)', function(kind, length, start, count)
    local window = kind .. ',' .. start
    if windows[window] then
      found[windows[window]] = count
    else
      kept[kind] = (kept[kind] or 0) + 1
      if kept[kind] <= 4 then
        others[#others + 1] = ';' .. window .. '=' .. count
        last = math.max(last, start + length)
      end
    end
    return ''
  end)
  if rest ~= ';' then
    return 'damaged'
  end
  latest, rest = string.format('%.0f', last), table.concat(others) .. ';\n'
end

local cost, exceeded, n = tonumber(ARGV[2]), false, #ARGV - 4
for i = 1, n do
  local count = found[3 + i] + cost
  found[3 + i] = count
  exceeded = exceeded or count > tonumber(ARGV[4 + i])
end
if exceeded or repeated then
  redis.call('ZREM', KEYS[2], '') -- of nothing, which a replica refuses: its counts may be outdated
  for i = 4, 3 + n do
    if found[i] >= 9007199254740992 then -- 1<<53: more than was ever spent, and inexact
      return 'damaged'
    end
    found[i] = found[i] - cost
  end
  return (repeated and '1' or '0') .. ARGV[4]:format(latest, unpack(found, 4, 3 + n))
end
local front = ARGV[4]:format(latest, unpack(found, 4, 3 + n))
if latest ~= known then
  redis.call('ZADD', KEYS[2], latest, KEYS[1]:match('}:c:(.*)'))
end
-- Last, so that a script that stops at an error has spent nothing.
redis.call('SET', KEYS[1], front .. rest .. ARGV[1] .. old:sub(stop + 1, stop + 504))
return '1' .. front
