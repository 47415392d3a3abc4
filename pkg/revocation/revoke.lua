-- Notes that a peer's tokens are revoked, and forgets revocations whose tokens have
-- all expired.
-- KEYS: [1] hash peer -> when (unix seconds) its tokens were revoked (connections.lua
-- reads it), [2] zset of the same peers by that
-- ARGV: the peer, when, for how many seconds a revocation is needed ('0': for ever),
-- how many peers there may be
-- Returns 1, or 0 if there are too many already: then nothing was noted.
local peer, at, needed = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most = 500 -- forgotten at once
if needed > 0 then
  local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. (at - needed), 'LIMIT', 0, most)
  if #over > 0 then
    redis.call('HDEL', KEYS[1], unpack(over))
    redis.call('ZREM', KEYS[2], unpack(over))
  end
end
if redis.call('HEXISTS', KEYS[1], peer) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], peer, ARGV[2])
redis.call('ZADD', KEYS[2], at, peer)
for _, key in ipairs(KEYS) do
  if needed > 0 then
    redis.call('EXPIRE', key, needed)
  else
    redis.call('PERSIST', key)
  end
end
return 1
