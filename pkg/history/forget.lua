-- Forgets the messages of a channel. Its position stays. channel.lua and deadline.lua stand
-- before this.
-- KEYS[1] LAST of the channel
-- ARGV: what setup takes; the channel's size and TTL (ms)
local at = setup(1, due_time())
local value = redis.call('GET', KEYS[1])
if value then
  clear(open(KEYS[1], tonumber(ARGV[at]), life_of(ARGV[at + 1]), value))
  account()
end
return {asked and generation or ''}
