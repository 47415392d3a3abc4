-- One node's share of an app's concurrent connections. A node always states
-- how many it holds, so a lost reply or a restarted Redis heals with its next
-- call. What a dead node held is dropped when its lease has run out.
-- KEYS: [1] hash node -> connections held, [2] zset node -> end of its lease (ms),
-- [3] the most connections at once in this period
-- ARGV: node, held, wanted in addition, cap (-1: none), lease in ms, when [3]
-- expires (unix seconds)
-- Returns {granted, connections of the app on all nodes}.
local node, held, wanted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local cap, lease = tonumber(ARGV[4]), tonumber(ARGV[5])
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now)) do
  redis.call('HDEL', KEYS[1], dead)
  redis.call('ZREM', KEYS[2], dead)
end
local others = 0
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] ~= node then
    others = others + tonumber(all[i + 1])
  end
end
local granted = wanted
if cap >= 0 and others + held + wanted > cap then
  granted = math.max(0, cap - others - held)
end
local mine = held + granted
if mine > 0 then
  redis.call('HSET', KEYS[1], node, mine)
  redis.call('ZADD', KEYS[2], now + lease, node)
  redis.call('PEXPIRE', KEYS[1], lease * 2)
  redis.call('PEXPIRE', KEYS[2], lease * 2)
else
  redis.call('HDEL', KEYS[1], node)
  redis.call('ZREM', KEYS[2], node)
end
local total = others + mine
if total > tonumber(redis.call('GET', KEYS[3]) or '0') then
  redis.call('SET', KEYS[3], total, 'EXAT', ARGV[6])
end
return {granted, total}
