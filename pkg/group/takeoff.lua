-- Takes bytes off what a group takes: those of messages that are gone.
-- KEYS[1] the group's count; ARGV: for each bucket its tag, how many bytes, and, if messages
-- were dropped, why ('': none were) and how many
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 1
end
redis.call('HDEL', KEYS[1], '') -- so that a Redis that is full takes the rest (pull.lua)
for i = 1, #ARGV, 4 do
  if ARGV[i + 2] ~= '' then
    redis.call('HINCRBY', KEYS[1], ARGV[i + 2], ARGV[i + 3])
  end
  for _, field in ipairs({ARGV[i], 'all'}) do
    if redis.call('HINCRBY', KEYS[1], field, -ARGV[i + 1]) == 0 then
      redis.call('HDEL', KEYS[1], field)
    end
  end
end
return 1
