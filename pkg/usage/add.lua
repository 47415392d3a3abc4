-- Adds a batch of figures to a ranking, and does nothing when that batch was
-- added before: it comes again when its reply was lost. A recorder sends the
-- batches of one app and period one after the other, in the order of their numbers.
-- Of more names than a ranking may have, the smallest go into one sum, so what
-- Redis keeps has a bound and nothing is lost from the sum of all.
-- KEYS: [1] zset name -> messages, [2] hash name -> bytes,
--   [3] number of the last batch taken from this recorder,
--   [4] hash of what all other names together have: published, bytes
-- ARGV: the batch's number, when [1], [2] and [4] expire (unix seconds), how long
--   [3] is kept (seconds), how many names [1] may have, how many may be taken out
--   at once; then name ('': all other names), messages, bytes for each entry
-- Returns 1 if the batch was added, 0 if it had been before.
if tonumber(redis.call('GET', KEYS[3]) or '0') >= tonumber(ARGV[1]) then
  return 0
end
local published, bytes = 0, 0 -- for [4]
for i = 6, #ARGV, 3 do
  if ARGV[i] == '' then
    published, bytes = published + ARGV[i + 1], bytes + ARGV[i + 2]
  else
    redis.call('ZINCRBY', KEYS[1], ARGV[i + 1], ARGV[i])
    redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 2])
  end
end
local excess = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
if excess > 0 then
  local smallest = redis.call('ZPOPMIN', KEYS[1], math.min(excess, tonumber(ARGV[5])))
  local names = {}
  for i = 1, #smallest, 2 do
    names[#names + 1] = smallest[i]
    published = published + smallest[i + 1]
  end
  for _, size in ipairs(redis.call('HMGET', KEYS[2], unpack(names))) do
    bytes = bytes + (size or 0)
  end
  redis.call('HDEL', KEYS[2], unpack(names))
end
if published > 0 then
  redis.call('HINCRBY', KEYS[4], 'published', published)
  redis.call('HINCRBY', KEYS[4], 'bytes', bytes)
  redis.call('EXPIREAT', KEYS[4], ARGV[2])
end
redis.call('EXPIREAT', KEYS[1], ARGV[2])
redis.call('EXPIREAT', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[3])
return 1
