-- Holds messages of one app against their senders' rates and the app's cap, and
-- publishes those within both, in one step: so exactly as many pass as the cap
-- allows, and one over its rate is not counted. bucket.lua stands before this.
-- KEYS[1] the counter; then a bucket for each rate
-- ARGV: cap (-1: none), when the counter expires (unix seconds); for each bucket
-- tokens per second, burst, how many messages take a token each, and which these
-- are, from 1; then a Redis channel and a payload for each message
-- Returns for each bucket milliseconds until its next token; then for each message
-- how many nodes Redis handed it to, -1 if it is over the cap, -2 if it is over
-- its rate.
local reply, limited, at = {}, {}, 3
local refused = 0
for b = 2, #KEYS do
  local asked = tonumber(ARGV[at + 2])
  local given, wait = take(KEYS[b], asked, tonumber(ARGV[at]), tonumber(ARGV[at + 1]))
  for i = given + 1, asked do
    limited[tonumber(ARGV[at + 2 + i])] = true
  end
  refused = refused + asked - given
  reply[b - 1] = wait
  at = at + 3 + asked
end
local n = (#ARGV - at + 1) / 2
local pass = n - refused
if pass > 0 then
  local cap = tonumber(ARGV[1])
  local used = redis.call('INCRBY', KEYS[1], pass)
  if used == pass then
    redis.call('EXPIREAT', KEYS[1], ARGV[2])
  end
  if cap >= 0 and used > cap then
    pass = math.max(0, pass - (used - cap))
  end
end
for i = 1, n do
  local outcome = -2
  if not limited[i] then
    outcome = -1
    if pass > 0 then
      outcome = redis.call('PUBLISH', ARGV[at + 2 * i - 2], ARGV[at + 2 * i - 1])
      pass = pass - 1
    end
  end
  reply[#KEYS - 1 + i] = outcome
end
return reply
