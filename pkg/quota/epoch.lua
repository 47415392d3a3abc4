-- KEYS[1] the epoch of what is in Redis; ARGV[1] what it becomes if there is none
-- Returns the epoch.
local epoch = redis.call('GET', KEYS[1])
if not epoch then
  epoch = ARGV[1]
  redis.call('SET', KEYS[1], epoch)
end
return epoch
