-- Notes that a peer's tokens are revoked, and forgets revocations whose tokens have
-- all expired.
-- KEYS: [1] hash peer -> when (unix seconds) its tokens were revoked (connections.lua
-- reads it), [2] zset of the same peers by that, [3] the most seconds that a token lives
-- that was seen (connections.lua writes it)
-- ARGV: the peer, when, the most seconds that the app lets a token live ('0': any
-- number), the most seconds that a token lives that was minted for it, how many seconds
-- longer a revocation is needed, how many peers there may be
-- Returns 1, or 0 if there are too many already: then nothing was noted.
local peer, at, life = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if life == 0 then
  life = math.max(tonumber(ARGV[4]), tonumber(redis.call('GET', KEYS[3]) or '0'))
end
local needed = life + tonumber(ARGV[5])
local most = 500 -- forgotten at once
local over = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. (at - needed), 'LIMIT', 0, most)
if #over > 0 then
  redis.call('HDEL', KEYS[1], unpack(over))
  redis.call('ZREM', KEYS[2], unpack(over))
end
if redis.call('HEXISTS', KEYS[1], peer) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[6]) then
  return 0
end
redis.call('HSET', KEYS[1], peer, ARGV[2])
redis.call('ZADD', KEYS[2], at, peer)
redis.call('EXPIRE', KEYS[1], needed)
redis.call('EXPIRE', KEYS[2], needed)
return 1
