-- Acknowledges messages of one bucket, or has them delivered again later. waiting.lua stands
-- before this.
-- ARGV: how often messages are delivered at most, for how long they live (ms); then of each message its ID:BYTES:ATTEMPT, and '' to acknowledge it, in how many ms
-- to deliver it again, or 'back' to deliver it again as if it had not been delivered now
-- Returns {bytes that Go must take off the group, how many were buried}, and of each message
-- 1, or 0 if its lease was lost.
local deliver, life = tonumber(ARGV[1]), tonumber(ARGV[2])
local reply = {0, 0}

-- refuse has a message delivered again, or buries it.
local function refuse(member, after)
  local id, bytes, attempt = parts_of(member)
  local entry = entry_of(stream, id)
  if not entry then
    return -- it was dropped
  elseif attempt >= deliver then
    bury(entry, attempt, 'nack', life)
  else
    redis.call('ZADD', delayed, now + after, member)
    redis.call('PEXPIRE', delayed, life + DAY)
  end
end

-- give_back has a message delivered again at once. The delivery does not count.
local function give_back(member)
  local id, bytes, attempt = parts_of(member)
  if entry_of(stream, id) then
    redis.call('ZADD', delayed, now, string.format('%s:%d:%d', id, bytes, attempt - 1))
    redis.call('PEXPIRE', delayed, life + DAY)
  end
end

-- acknowledged has those whose leases end here because they are acknowledged, 1000 at most.
local acknowledged, members = {}, {}
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    members[#members + 1] = ARGV[i]
  end
end
if #members > 0 then
  for i, held in ipairs(redis.call('ZMSCORE', leases, unpack(members))) do
    acknowledged[members[i]] = held and 1
  end
  redis.call('ZREM', leases, unpack(members))
end

for i = 3, #ARGV, 2 do
  local member, after = ARGV[i], ARGV[i + 1]
  local held
  if after ~= '' then
    held = redis.call('ZREM', leases, member)
  else
    held, acknowledged[member] = acknowledged[member] or 0, nil -- it may be named twice
  end
  if held == 1 and after == 'back' then
    give_back(member)
  elseif held == 1 and after ~= '' then
    refuse(member, tonumber(after))
  elseif held == 1 then
    local id, bytes = parts_of(member)
    forget(stream, id, bytes)
  end
  reply[#reply + 1] = held
end
reply[1], reply[2] = count_out(), buried
return reply
