-- Notes which commands of an app have ended, and chooses those that it has no room for
-- any more. clock.lua stands before this.
-- KEYS: [1] zset of them, by when that was (µs): name, space, bytes; [2] the sum of the bytes
-- ARGV: how many bytes there may be, for how many ms they are kept, then each that has ended
-- Returns the names of the oldest, which have to go, at most 200.
local most = 200 -- of those that go, or have gone, in one run
local life = tonumber(ARGV[2])
local sum = tonumber(redis.call('GET', KEYS[2]) or 0)

local function bytes(member) return tonumber(member:match('%d+$')) end

local function drop(members)
  for _, member in ipairs(members) do
    sum = sum - bytes(member)
  end
  if #members > 0 then
    redis.call('ZREM', KEYS[1], unpack(members))
  end
end

for i = 3, #ARGV do
  if redis.call('ZADD', KEYS[1], 'NX', string.format('%d', micros), ARGV[i]) == 1 then
    sum = sum + bytes(ARGV[i])
  end
end
-- Redis has dropped these by itself.
drop(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', micros - 1000 * life), 'LIMIT', 0, most))
local gone, names, rest = {}, {}, sum
if sum > tonumber(ARGV[1]) then
  for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, most - 1)) do
    if rest <= tonumber(ARGV[1]) then
      break
    end
    rest = rest - bytes(member)
    gone[#gone + 1], names[#names + 1] = member, member:match('^%S+')
  end
  drop(gone)
end
redis.call('SET', KEYS[2], string.format('%d', sum), 'PX', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return names
