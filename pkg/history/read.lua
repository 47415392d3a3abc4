-- Reads what a channel remembers, and begins a position if the channel has none.
-- channel.lua and deadline.lua stand before this.
-- KEYS[1] LAST of the channel
-- ARGV: what setup takes; the channel's size and TTL (ms); the epoch ('': none) and the
-- offset behind which to read, or how many of the last messages to read (0: none); how
-- many messages at most, and from how many bytes on no more
-- Returns {epoch, offset, 1 if everything behind the position is there (else 0), 1 if more
-- messages follow (else 0), the offset of the first message that follows, the generation if
-- it was asked for, in how many ms to look into the bucket (''; not), then the messages}.
local at = setup(1, due_time())
local size, life = tonumber(ARGV[at]), life_of(ARGV[at + 1])
local epoch, behind, last = ARGV[at + 2], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
local limit, room = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])

local c = open(KEYS[1], size, life, redis.call('GET', KEYS[1]))
local bytes = c.bytes
save(c)
account()

local list = list_of(c)
local length = 0
if c.message then
  length = 1
elseif bytes > 0 then
  length = redis.call('LLEN', list)
end

-- expired says whether the message with the offset has.
local function expired(offset)
  local message = c.message or redis.call('LINDEX', list, offset - c.offset - 1)
  return at_of(message) + life.ms <= now
end

-- The messages that are there are those from first on. They expire in order.
local first = c.offset - math.min(length, size) + 1
if first <= c.offset and expired(first) then
  local gone, there = first, c.offset + 1
  while there - gone > 1 do
    local middle = math.floor((gone + there) / 2)
    if expired(middle) then
      gone = middle
    else
      there = middle
    end
  end
  first = there
end

local start, recovered = c.offset + 1, 0
if epoch ~= '' then
  if epoch == c.epoch and behind <= c.offset and behind + 1 >= first then
    start, recovered = behind + 1, 1
  else
    start = first
  end
elseif last > 0 then
  start = math.max(first, c.offset - last + 1)
end

local look -- the soonest
for _, t in ipairs(touched) do
  look = math.min(look or math.huge, tonumber(string.match(t, '^%d+')))
end

local reply = {c.epoch, tostring(c.offset), recovered, 0, tostring(start), asked and generation or '', look and string.format('%d', look) or ''}
local stop = math.min(c.offset, start + limit - 1)
while start <= stop and room > 0 do
  local some = {c.message}
  if not c.message then
    some = redis.call('LRANGE', list, start - c.offset - 1, math.min(stop, start + 15) - c.offset - 1)
  end
  for _, message in ipairs(some) do
    if room > 0 then
      reply[#reply + 1] = message
      room, start = room - #message, start + 1
    end
  end
end
if start <= c.offset then
  reply[4] = 1
end
return reply
