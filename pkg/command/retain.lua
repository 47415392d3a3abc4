-- Notes which commands of an app have ended, and chooses those that it has no room for
-- any more.
-- KEYS: [1] zset of them, by when that was (µs), [2] hash of their bytes, and '' for the
-- sum
-- ARGV: how many bytes there may be, for how many ms they are kept, then for each its name
-- and bytes
-- Returns the names of the oldest, which have to go, at most 200.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000000 + tonumber(t[2])
local life = tonumber(ARGV[2])
local sum = tonumber(redis.call('HGET', KEYS[2], '') or 0)

local function drop(name)
  sum = sum - tonumber(redis.call('HGET', KEYS[2], name) or 0)
  redis.call('HDEL', KEYS[2], name)
  redis.call('ZREM', KEYS[1], name)
end

for i = 3, #ARGV, 2 do
  if redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', now), ARGV[i]) == 1 then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    sum = sum + tonumber(ARGV[i + 1])
  end
end
-- Redis has dropped these by itself.
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - 1000 * life), 'LIMIT', 0, 500)) do
  drop(name)
end
local gone = {}
while sum > tonumber(ARGV[1]) and #gone < 200 do
  local name = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
  if not name then
    break
  end
  drop(name)
  gone[#gone + 1] = name
end
redis.call('HSET', KEYS[2], '', string.format('%.0f', sum))
redis.call('PEXPIRE', KEYS[1], life)
redis.call('PEXPIRE', KEYS[2], life)
return gone
