-- Takes hand-overs back that a node's subscribers asked to confirm and have not
-- confirmed: their connection has ended, or the node. state.lua stands before this.
-- ARGV, behind those of all scripts: [3] identity of the node, then for each hand-over
-- two: id, peer. Without any: some of all that the node holds in the bucket.
-- Returns {ended, more}: more is 1 if the node holds others.
local held = HELD .. ARGV[3]
local pairs_of = {}
if #ARGV > 3 then
  for i = 4, #ARGV, 2 do
    pairs_of[#pairs_of + 1] = ARGV[i] .. ' ' .. ARGV[i + 1]
  end
else
  for _, member in ipairs(redis.call('SRANDMEMBER', held, at_once)) do
    pairs_of[#pairs_of + 1] = member
  end
end

-- publish has the nodes on which the peer is subscribed claim the command for it
-- (pkg/envelope). No two of these have the same number, nor has the first envelope.
local published = 0
local function publish(id, c, peer)
  local payload = redis.call('HGET', COMMAND .. id, 'payload')
  local length = payload:byte(30) * 256 + payload:byte(31)
  local about = payload:sub(32, 31 + length) .. ' ' .. peer
  published = published + 1
  redis.pcall('PUBLISH', TOPICS .. c.channel, '\5' .. payload:sub(2, 9) .. '\129' .. string.format('%07x', (micros + published) % 268435456)
    .. payload:sub(18, 29) .. string.char(math.floor(#about / 256), #about % 256) .. about .. payload:sub(32 + length))
end

local function take_back(id, peer)
  local c = command(id)
  local text = c and get(c, peer)
  local r = text and parse(text)
  if not r or r.holder ~= ARGV[3] then
    return
  end
  if final[c.status] or c.open <= now or not c.waits or tonumber(r.attempt) >= attempts then
    time_out(c, peer, r)
    conclude(c)
    return
  end
  r.holder = '*'
  put(c, peer, r)
  redis.call('ZADD', DUE .. id, text_of(c.open), peer)
  c.changed = true
  publish(id, c, peer)
end

for _, member in ipairs(pairs_of) do
  local id, peer = member:match('^(%S+) (.*)$')
  take_back(id, peer)
  redis.call('SREM', held, member)
end
save_all()
return {ended, redis.call('EXISTS', held)}
