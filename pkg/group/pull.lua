-- Delivers messages of one bucket to a consumer. waiting.lua stands before this.
-- ARGV: the consumer; how many messages (1000), and how many bytes of them, at most; for how long
-- they are leased, and for how long they live (ms); how often they are delivered at most; the
-- group
-- Returns {1 if it is served to another consumer, 1 if there may be more, bytes that Go must
-- take off the group, how many were buried, how many were too old, 1 if nothing is there}, and
-- then of each message: ID:BYTES:ATTEMPT, if it was a dead letter when it was published (ms;
-- '': as its ID says), its channel, and the message.
local consumer, most, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, life, deliver = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local last = redis.call('ZRANGE', leases, -1, -1, 'WITHSCORES')
local was = redis.call('HMGET', state, 'owner', 'cursor', 'bytes')
if last[2] and tonumber(last[2]) > now and was[1] ~= consumer then
  return {1, 0, 0, 0, 0, 0}
end

-- Redis refuses the first write of a script that needs memory when it is full, and no later one.
-- So this one needs none: ingesters must be able to drain a Redis that is full.
redis.call('ZREM', leases, '')

local reply, given, aged, more = {0, 0, 0, 0, 0, 0}, 0, 0, false

-- leased is what ZADD takes of the messages that are handed on.
local leased, ends = {}, string.format('%d', now + lease)

-- hand leases a message to the consumer, unless there is no room for it.
local function hand(entry, attempt)
  local id, bytes, channel, message, published = entry[1], fields_of(entry)
  local size = #channel + #message
  if given == most or given > 0 and size > room then
    more = true
    return false
  end
  given, room = given + 1, room - size
  local member, at = id .. ':' .. bytes .. ':' .. attempt, #reply
  leased[2 * given - 1], leased[2 * given] = ends, member
  reply[at + 1], reply[at + 2], reply[at + 3], reply[at + 4] = member, published or '', channel, message
  return true
end

-- overdue are messages that are due again, in the order in which they were published.
local function overdue()
  local found = {}
  for _, key in ipairs({leases, delayed}) do
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', key, '-inf', now, 'LIMIT', 0, 1000)) do
      local id, bytes, attempt = parts_of(member)
      local ms, sequence = string.match(id, '^(%d+)%-(%d+)$')
      found[#found + 1] = {key = key, member = member, id = id, bytes = bytes, attempt = attempt, ms = tonumber(ms), sequence = tonumber(sequence)}
    end
  end
  table.sort(found, function(a, b)
    return a.ms < b.ms or a.ms == b.ms and a.sequence < b.sequence
  end)
  return found
end

-- again delivers a message once more, and says whether there is room for others.
local function again(m)
  local entry = entry_of(stream, m.id)
  if not entry then -- it was dropped
    redis.call('ZREM', m.key, m.member)
  elseif m.ms + life <= now then
    redis.call('ZREM', m.key, m.member)
    forget(stream, m.id, m.bytes)
    aged = aged + 1
  elseif m.attempt >= deliver then
    redis.call('ZREM', m.key, m.member)
    bury(entry, m.attempt, m.key == delayed and 'nack' or 'timeout', life)
  elseif hand(entry, m.attempt + 1) then
    redis.call('ZREM', m.key, m.member)
  else
    return false
  end
  return true
end

local open, due_again = true, overdue()
while open and #due_again > 0 do
  for _, m in ipairs(due_again) do
    open = open and again(m)
  end
  due_again = open and overdue() or {}
end

local cursor, idle, fresh = was[2] or '0-0', false, false
while open do
  local some = redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', math.min(32, most - given + 1))
  idle = #some == 0
  open = not idle
  for _, entry in ipairs(some) do
    local id = entry[1]
    fresh = fresh or ms_of(id) + life > now -- and so are those behind it
    if not open then
      break
    elseif not fresh then
      forget(stream, id, tonumber((fields_of(entry))))
      aged, cursor = aged + 1, id
    elseif hand(entry, 1) then
      cursor = id
    else
      open = false
    end
  end
end

if given > 0 then
  redis.call('ZADD', leases, unpack(leased))
  redis.call('PEXPIRE', leases, life + DAY)
end
if was[3] then
  redis.call('HSET', state, 'cursor', cursor, 'owner', given > 0 and consumer or was[1] or '')
  if idle then
    redis.call('HSET', state, 'idle', 1)
  end
end
reply[2], reply[3], reply[4], reply[5] = more and 1 or 0, count_out(), buried, aged
if not was[3] or tonumber(was[3]) == 0 then
  -- The group's count says that something is here: a look must find out why (sweep.lua).
  redis.call('ZADD', due, 'NX', now, ARGV[7])
  reply[6] = 1
end
return reply
