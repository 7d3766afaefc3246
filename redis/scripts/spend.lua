-- Spend. Keys: the counts, the ends of its shard. Arguments: id, the spend's id, its
-- cost, then for each window what precedes those of its kind in the counts
-- (";day/86400"), its start, and what it may hold.
--
-- Returns 1, or 0 if nothing was spent, and the counts of the windows.
local old = redis.call('GET', KEYS[1]) or '\1;\n'
local finish, known = old:find('\n', 1, true), old:match('^\1(%d*);')
if not finish or not known or (#old - finish) % 8 ~= 0 then
  return 'damaged'
end
local counts, ids = old:sub(2 + #known, finish - 1), old:sub(finish + 1)
local repeated = ids:find(ARGV[2], 1, true)
while repeated and repeated % 8 ~= 1 do -- parts of two of them
  repeated = ids:find(ARGV[2], repeated + 1, true)
end

local cost, reply, new, exceeded = tonumber(ARGV[3]), {1}, false, false
for i = 4, #ARGV, 3 do
  local kind, start, count = ARGV[i], ARGV[i + 1], 0
  local _, before = counts:find(kind .. ',', 1, true)
  if before then
    local after = counts:find(';', before, true) or 0
    local windows = counts:sub(before, after - 1)
    local from, to, had = windows:find(',' .. start .. '=(%d+)')
    if from then
      count = tonumber(had)
      windows = windows:sub(1, from - 1) .. windows:sub(to + 1)
    else
      new = true
      windows = windows:match('^(,%d+=%d+,%d+=%d+,%d+=%d+),') or windows
    end
    counts = string.format('%s,%s=%.0f%s%s', counts:sub(1, before - 1), start, count + cost, windows, counts:sub(after))
  else
    new = true
    counts = kind .. ',' .. start .. '=' .. ARGV[3] .. counts
  end
  exceeded = exceeded or count + cost > tonumber(ARGV[i + 2])
  reply[#reply + 1] = count
end

local latest = known
if new then -- which window ends last, and whether all is as it should be
  local last = 0
  local rest = counts:gsub(';[%w_-]+/(%d+)([^;]+)', function(length, windows)
    return (windows:gsub(',(%d+)=%d+', function(start)
      last = math.max(last, start + length)
      return ''
    end))
  end)
  if rest ~= ';' then
    return 'damaged'
  end
  latest = string.format('%.0f', last)
end
if exceeded or repeated then
  redis.call('ZREM', KEYS[2], '') -- of nothing, which a replica refuses: its counts may be outdated
  reply[1] = repeated and 1 or 0
  return reply
end
for i = 2, #reply do
  reply[i] = reply[i] + cost
end
if latest ~= known then
  redis.call('ZADD', KEYS[2], latest, ARGV[1])
end
-- Last, so that a script that stops at an error has spent nothing.
redis.call('SET', KEYS[1], '\1' .. latest .. counts .. '\n' .. ARGV[2] .. ids:sub(1, 504))
return reply
