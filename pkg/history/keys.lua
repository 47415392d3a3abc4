-- Counts the idempotency keys of publishes in a bucket, or drops some. deadline.lua stands
-- before this.
-- KEYS: [1] IDS, then keys to drop
-- ARGV[1] for how many ms keys are kept, then the names in [1] of those to drop
-- Returns how many there are.
for i = 2, #KEYS do
  redis.call('DEL', KEYS[i])
  redis.call('ZREM', KEYS[1], ARGV[i])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', due_time() - tonumber(ARGV[1]))
return redis.call('ZCARD', KEYS[1])
