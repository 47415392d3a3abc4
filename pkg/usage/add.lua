-- Adds a batch of figures to a ranking, and does nothing when that batch was
-- added before: it comes again when its reply was lost. A recorder sends the
-- batches of one app and period one after the other, in the order of their numbers.
-- KEYS: [1] zset name -> messages, [2] hash name -> bytes,
--   [3] number of the last batch taken from this recorder
-- ARGV: the batch's number, when [1] and [2] expire (unix seconds), how long [3]
--   is kept (seconds), then name, messages, bytes for each entry
-- Returns 1 if the batch was added, 0 if it had been before.
if tonumber(redis.call('GET', KEYS[3]) or '0') >= tonumber(ARGV[1]) then
  return 0
end
for i = 4, #ARGV, 3 do
  redis.call('ZINCRBY', KEYS[1], ARGV[i + 1], ARGV[i])
  redis.call('HINCRBY', KEYS[2], ARGV[i], ARGV[i + 2])
end
redis.call('EXPIREAT', KEYS[1], ARGV[2])
redis.call('EXPIREAT', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[3])
return 1
