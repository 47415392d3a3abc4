-- Tells what is due in a bucket.
-- KEYS[1] zset id -> its deadline (ms)
-- ARGV: how many of those that are due to leave out, and how many to tell
-- Returns milliseconds until the first deadline that is not due yet (-1: there is
-- none), and then the ids of those that are due, the longest due first.
local now = due_time()
local next = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local reply = {next[2] and tonumber(next[2]) - now or -1}
for i, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', ARGV[1], ARGV[2])) do
  reply[i + 1] = id
end
return reply
