-- Ends the lease of buckets: says when to look there again.
-- KEYS: [1] the index: zset kind and bucket -> when to look there (ms), [2] zset kind
-- and bucket -> when it was touched last (ms), [3] hash of turns (look.lua)
-- ARGV: for how many ms after its Touch a script may be under way, in how many ms to
-- look again meanwhile, 1 if this builds a lost index ('whole': the last of it; 0: it
-- does not), then for each: the kind and the bucket, and in how many ms to look (-1:
-- there is nothing)
local now = due_time()
local flight, again = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 4, #ARGV, 2 do
  local bucket, wait = ARGV[i], math.floor(tonumber(ARGV[i + 1]))
  local touched = tonumber(redis.call('ZSCORE', KEYS[2], bucket) or 0)
  -- What a script writes that is under way was not seen.
  if touched > now - flight and touched <= now then
    wait = wait < 0 and again or math.min(wait, again)
  elseif touched ~= 0 then
    redis.call('ZREM', KEYS[2], bucket)
  end
  if ARGV[3] ~= '0' then
    if wait >= 0 then
      redis.call('ZADD', KEYS[1], 'LT', now + wait, bucket)
    end
  elseif wait < 0 then
    redis.call('ZREM', KEYS[1], bucket)
  else
    redis.call('ZADD', KEYS[1], now + wait, bucket)
  end
end
if ARGV[3] == 'whole' then
  redis.call('HSET', KEYS[3], 'whole', 1)
  redis.call('HDEL', KEYS[3], 'building')
end
return 1
