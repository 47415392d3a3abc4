-- The wills of a bucket, for the scripts that know of them to begin with. They are a
-- hash. Under 'c' and its holder (record.lua) is the will that a connection has set.
-- Under 'p' and the peer is one that waits for its time, since the peer's last
-- connection has ended:
--
--   STATE EPOCH WILL
--
-- STATE is w, or t when a node has taken it to publish it; EPOCH is that of the peer when
-- the connection ended. A will begins with its delay (ms) and a space; the rest is for
-- nodes to read (will.go). The epoch grows whenever a peer that has no connection gets
-- one (connected.lua). So the peer was not back as long as its epoch is that of the will.

-- take_set takes out the wills that holders have set, separated by commas, and returns the
-- first; nil: there is none.
local function take_set(wills, holders)
  local first
  for holder in string.gmatch(holders, '[^,]+') do
    local will = redis.call('HGET', wills, 'c' .. holder)
    if will then
      redis.call('HDEL', wills, 'c' .. holder)
      first = first or will
    end
  end
  return first
end

-- leave_will has a will wait that was of the last connection of a peer. It is due when
-- the grace (ms) is over, or later.
local function leave_will(wills, due, peer, r, will, now, grace)
  redis.call('HSET', wills, 'p' .. peer, 'w ' .. whole(r.epoch) .. ' ' .. will)
  due_set(due, peer, now + math.max(grace, tonumber(string.match(will, '^%d+'))))
end

local some_wills

-- awaits_will says whether a will of a peer that has gone waits. Its record stays until
-- then.
local function awaits_will(wills, peer)
  if some_wills == nil then
    some_wills = redis.call('EXISTS', wills) == 1
  end
  return some_wills and redis.call('HEXISTS', wills, 'p' .. peer) == 1
end
