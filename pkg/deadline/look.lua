-- Gives a node its poll: the buckets where something is due, under a lease, and when
-- its next poll is. All nodes together have one poll each step.
-- KEYS: [1] the index: zset kind and bucket -> when to look there (ms), [2] hash of
-- turns: 'next' is when the next free poll is, 'whole' is there unless the index was
-- lost, 'building' until when somebody builds it again (ms)
-- ARGV: step, the longest wait for a poll, and the lease, in ms; how many buckets at
-- most; for how many ms the caller has the index to build; then the kinds that the
-- caller takes
-- Returns milliseconds until the caller's next poll, 1 if it has the index to build,
-- and then kinds and buckets.
local now = due_time()
local turns = redis.call('HMGET', KEYS[2], 'next', 'whole', 'building')
-- A clock that was set back must not let all nodes wait.
local poll_at = math.min(math.max(tonumber(turns[1] or 0), now) + tonumber(ARGV[1]), now + tonumber(ARGV[2]))
redis.call('HSET', KEYS[2], 'next', poll_at)
local reply = {poll_at - now, 0}
if not turns[2] then
  local building = tonumber(turns[3] or 0)
  if building <= now or building > now + tonumber(ARGV[5]) then
    redis.call('HSET', KEYS[2], 'building', now + tonumber(ARGV[5]))
    reply[2] = 1
  end
end
local takes = {}
for i = 6, #ARGV do
  takes[ARGV[i]] = true
end
for _, bucket in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[4])) do
  if takes[string.match(bucket, '^%S+')] then
    redis.call('ZADD', KEYS[1], now + tonumber(ARGV[3]), bucket)
    reply[#reply + 1] = bucket
  end
end
return reply
