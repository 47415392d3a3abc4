-- Does what publishing a message takes: it writes, reads and publishes.
-- KEYS[1] the node's own key
-- ARGV: what to write and publish, milliseconds until the key expires, the topic, PUBLISH or SPUBLISH
-- Returns how many subscribers of the topic there are on this Redis.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('ERR what was written is not what is read')
end
return redis.call(ARGV[4], ARGV[3], ARGV[1])
