-- Delivers messages of one bucket to a consumer. waiting.lua stands before this.
-- ARGV: the consumer; how many messages, and how many bytes of them, at most; for how long
-- they are leased, and for how long they live (ms); how often they are delivered at most; the
-- group
-- Returns {1 if it is served to another consumer, 1 if there may be more, bytes that Go must
-- take off the group, how many were buried, how many were too old, 1 if nothing is there}, and
-- then of each message: ID:BYTES:ATTEMPT, when it was published (ms), its channel, and the
-- message.
local consumer, most, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local lease, life, deliver = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local last = redis.call('ZRANGE', leases, -1, -1, 'WITHSCORES')
local was = redis.call('HMGET', state, 'owner', 'cursor', 'bytes')
if last[2] and tonumber(last[2]) > now and was[1] ~= consumer then
  return {1, 0, 0, 0, 0, 0}
end

local reply, given, aged, more = {0, 0, 0, 0, 0, 0}, 0, 0, false

-- hand leases a message to the consumer, unless there is no room for it.
local function hand(id, fields, attempt)
  local bytes = #fields.c + #fields.m
  if given == most or given > 0 and bytes > room then
    more = true
    return false
  end
  given, room = given + 1, room - bytes
  local member = id .. ':' .. fields.b .. ':' .. attempt
  redis.call('ZADD', leases, now + lease, member)
  for _, part in ipairs({member, fields.p or string.match(id, '^%d+'), fields.c, fields.m}) do
    reply[#reply + 1] = part
  end
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
  local fields = entry and fields_of(entry)
  if not entry then -- it was dropped
    redis.call('ZREM', m.key, m.member)
  elseif m.ms + life <= now then
    redis.call('ZREM', m.key, m.member)
    forget(stream, m.id, m.bytes)
    aged = aged + 1
  elseif m.attempt >= deliver then
    redis.call('ZREM', m.key, m.member)
    bury(m.id, fields, m.attempt, m.key == delayed and 'nack' or 'timeout', life)
  elseif hand(m.id, fields, m.attempt + 1) then
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

local cursor, idle = was[2] or '0-0', false
while open do
  local some = redis.call('XRANGE', stream, '(' .. cursor, '+', 'COUNT', math.min(32, most - given + 1))
  idle = #some == 0
  open = not idle
  for _, entry in ipairs(some) do
    local id, fields = entry[1], fields_of(entry)
    if not open then
      break
    elseif ms_of(id) + life <= now then
      forget(stream, id, tonumber(fields.b))
      aged, cursor = aged + 1, id
    elseif hand(id, fields, 1) then
      cursor = id
    else
      open = false
    end
  end
end

if was[3] then
  redis.call('HSET', state, 'cursor', cursor)
  if given > 0 then
    redis.call('HSET', state, 'owner', consumer)
    redis.call('PEXPIRE', leases, life + DAY)
  end
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
