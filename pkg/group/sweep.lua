-- Looks after the messages of one bucket: drops those that are too old, and compares what
-- they count with what the group's count says of the bucket. waiting.lua stands before this.
-- ARGV: the group, for how long messages live (ms; 0: there is no such group any more), what
-- the group's count says
-- Returns {bytes that Go must take off the group, how many were too old, in how many ms to
-- look again (-1: nothing is left)}.
--
-- The count of the group lies in another slot, and takes part of each change earlier, or
-- later. So it can be another while a change is under way, and stays another only if what
-- changed it has died in between. If two looks that lie LOOK_AGAIN apart find it off in the
-- same direction, the smaller of both is put right. That may be too much while
-- publishes never end, and then the next looks put it right again.
local LOOK, LOOK_AGAIN = 60000, 5000
local name, life, counted = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- drop_old drops the entries of a stream that are too old.
local function drop_old(key)
  local dropped = 0
  while true do
    local some, old = redis.call('XRANGE', key, '-', '+', 'COUNT', 32), 0
    while some[old + 1] and ms_of(some[old + 1][1]) + life <= now do
      old = old + 1
      forget(key, some[old][1], tonumber((fields_of(some[old]))))
    end
    dropped = dropped + old
    if old < #some or #some == 0 then
      return dropped, some[old + 1] and ms_of(some[old + 1][1])
    end
  end
end

-- drifted is how far the group's count is off, as two looks have found it.
local function drifted(own)
  local off = counted - own
  if off == 0 then
    redis.call('HDEL', state, 'drift')
    return 0, false
  end
  local was, at = string.match(redis.call('HGET', state, 'drift') or '', '^(%-?%d+) (%d+)$')
  was, at = tonumber(was), tonumber(at)
  if not was or was * off < 0 or at > now then
    redis.call('HSET', state, 'drift', string.format('%d %d', off, now))
    redis.call('PEXPIRE', state, life + DAY)
    return 0, true
  elseif now - at < LOOK_AGAIN then
    return 0, true
  end
  redis.call('HDEL', state, 'drift')
  return off > 0 and math.min(off, was) or math.max(off, was), false
end

if life == 0 then
  redis.call('DEL', stream, leases, delayed, state, dead)
  redis.call('ZREM', due, name, '*' .. name)
  return {0, 0, -1}
end

local aged, oldest = drop_old(stream)
local _, oldest_dead = drop_old(dead)
local off = count_out()
local own = tonumber(redis.call('HGET', state, 'bytes') or 0)
if not oldest and not oldest_dead and own ~= 0 then
  redis.call('HSET', state, 'bytes', 0)
  own = 0
end
-- The group's count still has the bytes that were just freed.
local drift, doubt = drifted(own + off)
off = off + drift

local wait
if doubt then
  wait = LOOK_AGAIN
elseif oldest or oldest_dead then
  wait = math.max(1000, math.min(LOOK, math.min(oldest or math.huge, oldest_dead or math.huge) + life - now))
else
  redis.call('DEL', leases, delayed)
  redis.call('HDEL', state, 'due')
  due_clear(due, name)
  return {off, aged, -1}
end
due_set(due, name, now + wait)
redis.call('HSET', state, 'due', now + wait, 'life', life)
for _, key in ipairs({stream, leases, delayed, state, dead}) do
  redis.call('PEXPIRE', key, life + DAY)
end
return {off, aged, wait}
