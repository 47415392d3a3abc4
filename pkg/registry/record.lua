-- The record of a peer, for the registry's scripts to begin with. It is a field of the
-- hash of its bucket:
--
--   EPOCH ONLINE SINCE AT CODE REASON HOLDERS
--   METADATA
--
-- ONLINE is 1 from its first connection until it is said to be offline; SINCE when it
-- came online, AT when a connection of it ended last (ms; 0: none has), with CODE and
-- REASON. HOLDERS are its connections, separated by commas: the identity of a node, the
-- connection's number there, and the node's name, with ':' between them.

local function read_record(value)
  if not value then
    return nil
  end
  local r = {}
  r.epoch, r.online, r.since, r.at, r.code, r.reason, r.holders, r.metadata =
    string.match(value, '^(%d+) (%d) (%d+) (%d+) (%d+) (%S+) (%S*)\n(.*)$')
  r.epoch = tonumber(r.epoch)
  return r
end

local function whole(n)
  return string.format('%d', n)
end

local function write_record(key, peer, r)
  redis.call('HSET', key, peer, whole(r.epoch) .. ' ' .. r.online .. ' ' .. r.since .. ' ' .. r.at .. ' ' .. r.code .. ' '
    .. r.reason .. ' ' .. r.holders .. '\n' .. r.metadata)
end

local function holds(r, holder)
  return string.find(',' .. r.holders .. ',', ',' .. holder .. ',', 1, true)
end

-- let_go takes holders out, separated by commas, and says whether one of them was there.
local function let_go(r, holders)
  local was = false
  for holder in string.gmatch(holders, '[^,]+') do
    local list = ',' .. r.holders .. ','
    local from, to = string.find(list, ',' .. holder .. ',', 1, true)
    if from then
      r.holders = string.sub(string.sub(list, 1, from) .. string.sub(list, to + 1), 2, -2)
      was = true
    end
  end
  return was
end

-- two is n, up to 65535, as two bytes, the higher first.
local function two(n)
  return string.char(math.floor(n / 256), n % 256)
end

local nobody = '\0\0\0\0\0\0\0\0'

-- publish tells of a peer's state on its channel of connectivity, in an envelope of
-- pkg/envelope with this version. id is 16 bytes, the id of the message; only is 8, the
-- connection that it is for, or nobody. '' for a channel: there is none.
local function publish(topics, channel, r, version, id, only)
  if channel == '' then
    return
  end
  local data
  if r.online == '1' then
    data = '{"online":true,"epoch":' .. whole(r.epoch) .. ',"at":' .. r.since .. '}'
  else
    data = '{"online":false,"epoch":' .. whole(r.epoch) .. ',"at":' .. r.at .. ',"reason":"' .. r.reason .. '","code":' .. r.code .. '}'
  end
  local body = '{"type":"message","channel":"' .. channel .. '","from":"_system","data":' .. data .. '}'
  local header = #body < 126 and string.char(129, #body) or ('\129\126' .. two(#body))
  local message = string.char(version) .. id .. only .. '\0\0' .. two(#data) .. '\0\0' .. header .. body
  redis.call('PUBLISH', topics .. channel, message)
  --cluster to_wildcards(topics .. channel, message)
end

-- drop_record forgets a peer.
local function drop_record(peers, index, peer)
  redis.call('HDEL', peers, peer)
  redis.call('ZREM', index, peer)
end
