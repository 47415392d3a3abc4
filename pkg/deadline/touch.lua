-- Has nodes look into buckets in time.
-- KEYS: [1] the index: zset kind and bucket -> when to look there (ms), [2] zset kind
-- and bucket -> when it was touched last (ms)
-- ARGV: for each: the kind and the bucket, and in how many ms to look
local now = due_time()
for i = 1, #ARGV, 2 do
  due_touch(KEYS[1], KEYS[2], ARGV[i], now, tonumber(ARGV[i + 1]))
end
return 1
