-- Connects of client addresses to one app, each within a window that begins with
-- the address's first.
-- KEYS: the addresses' counters; ARGV: the window in milliseconds, then for each
-- address how many connect now, and how many may
-- Returns for each address the connects so far, and the milliseconds until its
-- window ends (0 if they are no more than may).
local reply = {}
for i, key in ipairs(KEYS) do
  local now = tonumber(ARGV[2 * i])
  local count = redis.call('INCRBY', key, ARGV[2 * i])
  if count == now then
    redis.call('PEXPIRE', key, ARGV[1])
  end
  local wait = 0
  if count > tonumber(ARGV[2 * i + 1]) then
    wait = redis.call('PTTL', key)
    if wait > tonumber(ARGV[1]) or wait < 0 then -- the clock was set back; or it just ended
      redis.call('PEXPIRE', key, ARGV[1])
      wait = tonumber(ARGV[1])
    end
  end
  reply[2 * i - 1], reply[2 * i] = count, wait
end
return reply
