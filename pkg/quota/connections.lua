-- One node's share of an app's concurrent connections. A node always states
-- how many it holds, so a lost reply or a restarted Redis heals with its next
-- call. What a dead node held is dropped when its lease has run out. Who asks
-- with a token that is revoked takes no place from others.
-- KEYS: [1] hash node -> connections held, [2] zset node -> end of its lease (ms),
-- [3] the most connections at once in this period, [4] hash peer -> until when
-- (unix seconds) its tokens are revoked
-- ARGV: node, held, cap (-1: none), lease in ms, when [3] expires (unix seconds),
-- then for each that asks for a connection: the peer ('': it has no token), and
-- when its token was issued (unix seconds)
-- Returns for each that asks: 1 (granted), 0 (over the cap) or -1 (revoked), and
-- until when the peer's tokens are revoked (0: they are not).
local node, held = ARGV[1], tonumber(ARGV[2])
local cap, lease = tonumber(ARGV[3]), tonumber(ARGV[4])
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

local peers, revoked = {}, {}
for i = 6, #ARGV, 2 do
  peers[#peers + 1] = ARGV[i]
end
if #peers > 0 then
  revoked = redis.call('HMGET', KEYS[4], unpack(peers))
end
local mine, reply = held, {}
for i = 1, #peers do
  local granted, since = 0, tonumber(revoked[i] or 0)
  if revoked[i] and tonumber(ARGV[5 + 2 * i]) <= since then
    granted = -1
  elseif cap < 0 or others + mine < cap then
    granted, mine = 1, mine + 1
  end
  reply[2 * i - 1], reply[2 * i] = granted, since
end

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
  redis.call('SET', KEYS[3], total, 'EXAT', ARGV[5])
end
return reply
