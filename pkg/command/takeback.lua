-- Takes hand-overs back that a node's subscribers asked to confirm and have not
-- confirmed: their connection has ended, or the node. state.lua stands before this.
-- ARGV, behind those of all scripts: [3] identity of the node, then for each hand-over
-- two: id, peer. Without any: some of all that the node holds in the bucket.
-- Returns {ended, more, done}: more is 1 if the node holds others, done is how many of those that
-- are named it has seen to. The others come with the next run.
local held, bytes = HELD .. ARGV[3], 0
local most_bytes = 200000 -- of payloads that are published in one run
local pairs_of = {}
if #ARGV > 3 then
  for i = 4, #ARGV, 2 do
    pairs_of[#pairs_of + 1] = ARGV[i] .. ' ' .. ARGV[i + 1]
  end
else
  pairs_of = redis.call('SRANDMEMBER', held, at_once)
end

-- publish has the nodes on which the peer is subscribed claim the command for it
-- (pkg/envelope). No two of these have the same number, nor has the first envelope.
local published = 0
local function publish(id, c, peer)
  local payload = redis.call('HGET', COMMAND .. id, 'payload')
  local length = payload:byte(30) * 256 + payload:byte(31)
  local about = payload:sub(32, 31 + length) .. ' ' .. peer
  published, bytes = published + 1, bytes + #payload
  local message = '\5' .. payload:sub(2, 9) .. '\129' .. string.format('%07x', (micros + published) % 268435456)
    .. payload:sub(18, 29) .. string.char(math.floor(#about / 256), #about % 256) .. about .. payload:sub(32 + length)
  redis.pcall('PUBLISH', TOPICS .. c.channel, message)
  --cluster to_wildcards(TOPICS .. c.channel, message)
end

local function take_back(id, peer)
  local c = command(id)
  local text = c and get(c, peer)
  local r = text and parse(text)
  if not r or r.holder ~= ARGV[3] then
    return
  end
  if final[c.status] or is_over(c) or not c.waits or tonumber(r.attempt) >= attempts then
    time_out(c, peer, r)
    undue(c, peer)
    conclude(c)
    return
  end
  r.holder = '*'
  due_at(c, peer, r, until_open(c))
  put(c, peer, r)
  c.changed = true
  publish(id, c, peer)
end

local done = 0
for _, member in ipairs(pairs_of) do
  if done == at_once or bytes > most_bytes then
    break
  end
  local id, peer = member:match('^(%S+) (.*)$')
  take_back(id, peer)
  redis.call('SREM', held, member)
  done = done + 1
end
save_all()
return {ended, redis.call('EXISTS', held), done}
