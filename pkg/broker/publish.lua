-- Counts messages of one app against its cap, and publishes those within it, in
-- one step, so that exactly as many pass as the cap allows.
-- KEYS[1] the counter
-- ARGV: cap (-1: none), when the counter expires (unix seconds), then a Redis
-- channel and a payload for each message
-- Returns {how many passed: the first so many, then for each of them how many
-- nodes Redis handed it to}.
local n = (#ARGV - 2) / 2
local cap = tonumber(ARGV[1])
local used = redis.call('INCRBY', KEYS[1], n)
if used == n then
  redis.call('EXPIREAT', KEYS[1], ARGV[2])
end
local pass = n
if cap >= 0 and used > cap then
  pass = math.max(0, n - (used - cap))
end
local reply = {pass}
for i = 1, pass do
  reply[i + 1] = redis.call('PUBLISH', ARGV[1 + 2 * i], ARGV[2 + 2 * i])
end
return reply
