-- Connects of one client address within a window that begins with its first.
-- KEYS[1] the counter; ARGV[1] the window in milliseconds.
-- Returns {connects so far, milliseconds until the window ends}.
local count = redis.call('INCR', KEYS[1])
if count == 1 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {count, redis.call('PTTL', KEYS[1])}
