-- Renews an identity's lease, or begins it, and returns identities whose leases have expired.
-- KEYS: [1] zset identity -> end of its lease, [2] zset identity that has none any
-- more -> until when its reaper has time, before another node reaps it too (ms)
-- ARGV: identity, lease in ms, begin (1) or renew (0),
-- how many dead identities the caller would reap, and for how many ms it has them,
-- what the identity was before ('': nothing), which is dead from now on, and the caller's to reap,
-- and how many ms ago, by its own clock, the caller renewed last (-1: it begins)
-- Returns {1: the lease is held, 0: it had run out, then the identities to reap}.
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
local lease, ago = tonumber(ARGV[2]), tonumber(ARGV[7])
local ends = redis.call('ZSCORE', KEYS[1], ARGV[1])
if ARGV[3] == '0' and not ends then
  return {'0'} -- one that has expired, but that no node reaps yet, may be renewed
end
-- This clock may have been set since then. Ahead: all leases move with it, as no node
-- has been silent for so long. Back: no lease may last longer than from now.
local step = 0
if ends and ago >= 0 then
  step = now - (tonumber(ends) - lease) - ago
end
for key, longest in pairs({[KEYS[1]] = lease, [KEYS[2]] = tonumber(ARGV[5])}) do
  local from = '(' .. (now + longest)
  if step > 2000 then -- more than a call takes
    from = '-inf'
  else
    step = 0
  end
  local set = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES')
  for i = 1, #set, 2 do
    redis.call('ZADD', key, math.min(tonumber(set[i + 1]) + step, now + longest), set[i])
  end
end
redis.call('ZADD', KEYS[1], now + lease, ARGV[1])
if ARGV[6] ~= '' then
  redis.call('ZREM', KEYS[1], ARGV[6])
  redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), ARGV[6])
end
local reply = {'1'}
if tonumber(ARGV[4]) > 0 then
  for _, key in ipairs({KEYS[1], KEYS[2]}) do
    for _, dead in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', '(' .. now, 'LIMIT', 0, tonumber(ARGV[4]))) do
      redis.call('ZREM', KEYS[1], dead)
      redis.call('ZADD', KEYS[2], now + tonumber(ARGV[5]), dead)
      reply[#reply + 1] = dead
    end
  end
end
return reply
