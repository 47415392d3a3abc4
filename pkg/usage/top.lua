-- The next entries of a ranking, largest first. Entries of the same size run
-- backwards by name, as Redis orders them in reverse.
-- KEYS[1] zset name -> messages
-- ARGV: how many entries; then, unless it is from the start, messages and name of
--   the entry to go on after, which need not be there any more
-- Returns {name, messages, name, messages, …}.

-- By bytes: Lua's own < follows the server's locale.
local function less(a, b)
  for i = 1, math.min(#a, #b) do
    local x, y = string.byte(a, i), string.byte(b, i)
    if x ~= y then
      return x < y
    end
  end
  return #a < #b
end

local first = 0
if ARGV[2] then
  first = redis.call('ZCOUNT', KEYS[1], '(' .. ARGV[2], '+inf')
  local last = redis.call('ZCOUNT', KEYS[1], ARGV[2], '+inf')
  while first < last do
    local middle = math.floor((first + last) / 2)
    if less(redis.call('ZREVRANGE', KEYS[1], middle, middle)[1], ARGV[3]) then
      last = middle
    else
      first = middle + 1
    end
  end
end
return redis.call('ZREVRANGE', KEYS[1], first, first + tonumber(ARGV[1]) - 1, 'WITHSCORES')
