-- Connects of one client address within a window that begins with its first.
-- KEYS[1] the counter; ARGV: how many connect now, the window in milliseconds.
-- Returns {connects so far, milliseconds until the window ends}.
local count = redis.call('INCRBY', KEYS[1], ARGV[1])
if count == tonumber(ARGV[1]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {count, redis.call('PTTL', KEYS[1])}
