-- Hands commands of one channel to peers of one node, each at most once unless it was
-- taken back. state.lua stands before this.
-- KEYS, behind those of all scripts: [9] hash of the channel's peers that are on several
-- nodes: the one on which they have subscribed last
-- ARGV, behind those of all scripts: [3] id of a command ('': those that wait, for one peer),
-- [4] channel, [5] identity of the node, [6] at most so many bytes of payloads of those that
-- wait, [7] at most so many of those, [8] 1 if the node takes what another one should (0: it
-- leaves that to it), then for each peer two: its id, 1 if it confirms (0: it does not)
-- Returns {ended, more, then for each hand-over: the place of the peer (from 1), id,
-- attempt, milliseconds until the TTL ends (-1: it has none), timeout, payload ('': it was
-- not asked for)}. An id of '' says that the peer could be handed something, and that is left to
-- the node on which it has subscribed last. more is 1 if the peer could be handed more of those that wait.
local id, channel, identity = ARGV[3], ARGV[4], ARGV[5]
local reply = {ended, 0}

-- elsewhere says which of the peers have subscribed last on another node.
local function elsewhere(peers)
  local others = {}
  if redis.call('EXISTS', KEYS[9]) == 1 then
    for i, last in ipairs(redis.call('HMGET', KEYS[9], unpack(peers))) do
      others[i] = last and last ~= identity
    end
  end
  return others
end

-- leave leaves a hand-over to another node, unless this one takes it all the same. All nodes
-- are told of a command that is handed over at a pace when there is more to hand over, so
-- this one waits for none, and does not step in for one that waits for its turn.
local function leave(c, place)
  if c.paced then
    return true
  elseif ARGV[8] == '1' then
    return false
  end
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5], reply[n + 6] = place, '', 0, 0, 0, ''
  return true
end

-- may says whether a peer may be handed a command that it has this record of (nil or false:
-- none).
local function may(c, text, confirms)
  if not text then
    return in_pace(c)
  end
  local r = parse(text)
  return r.holder == '*' and confirms and tonumber(r.attempt) < attempts
end

-- hand hands it to a peer that may. handed notes the peers in Redis.
local function hand(c, place, peer, confirms, text, payload)
  local r = {status = 'sent', attempt = '1', sent = now_text, answered = '0', holder = confirms and identity or '-', due = text_of(now + c.timeout), data = ''}
  if text then
    local old = parse(text)
    r.attempt, r.data = text_of(old.attempt + 1), old.data
  else
    if pending(c) == 0 then
      c.first = now + c.timeout -- nobody else times out before, and nobody handed it in this run
    end
    c.counts.sent = c.counts.sent + 1
    c.moved = true
    c.bytes = c.bytes + per_peer
    remember(peer, c.open - now + c.timeout, c.id)
  end
  c.handed = c.handed or {}
  c.handed[#c.handed + 1] = peer
  if confirms then
    redis.call('SADD', HELD .. identity, c.id .. ' ' .. peer)
    redis.call('PEXPIRE', HELD .. identity, most_kept)
  end
  put(c, peer, r)
  local n = #reply
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5], reply[n + 6] =
    place, c.id, r.attempt, c.waits and c.open - now or -1, c.timeout, payload
end

-- handed notes the peers that were handed a command in this run.
local function handed(c)
  if not c.handed then
    return
  end
  local had = c.peers
  c.peers = finished(c) + pending(c)
  if c.peers > 1 then
    if had == 1 then -- PEERS and DUE do not have that one yet
      local r = parse(get(c, lone(c)))
      note(c.id, {lone(c)}, had, r.due)
      if final[r.status] then
        undue(c, lone(c))
      end
    end
    note(c.id, c.handed, had, text_of(now + c.timeout))
  end
  if c.status == 'waiting' then
    c.status = 'active'
    -- The first hand-over: wildcard subscribers see it, as a message of its own.
    local message = shown(redis.call('HGET', COMMAND .. c.id, 'payload'), '\128')
    redis.pcall('PUBLISH', TOPICS .. channel, message)
    --cluster to_wildcards(TOPICS .. channel, message)
  end
end

local function is_open(c) return c and not final[c.status] and not is_over(c) end

if id ~= '' then
  local c = command(id)
  if is_open(c) then
    local peers = {}
    for at = 9, #ARGV, 2 do
      peers[#peers + 1] = ARGV[at]
    end
    fetch(c, peers)
    local others = elsewhere(peers)
    for i, peer in ipairs(peers) do
      local text, confirms = get(c, peer), ARGV[8 + 2 * i] == '1'
      if may(c, text, confirms) and not (others[i] and leave(c, i)) then
        hand(c, i, peer, confirms, text, '')
      end
    end
    handed(c)
  end
else
  local budget, most, peer, confirms = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[9], ARGV[10] == '1'
  local other_node = elsewhere({peer})[1]
  for _, other in ipairs(redis.call('ZRANGE', QUEUE .. channel, 0, -1)) do
    if #reply > 2 and reply[#reply - 4] == '' then
      break -- it is left to another node, and so are those behind it
    end
    local c = command(other, '@' .. peer)
    local text = is_open(c) and get(c, peer)
    if is_open(c) and may(c, text, confirms) and not (other_node and leave(c, 1)) then
      local payload = most > 0 and redis.call('HGET', COMMAND .. other, 'payload')
      budget = budget - (payload and #payload or 0)
      if most == 0 or budget < 0 and #reply > 2 then
        reply[2] = 1
        break
      end
      most = most - 1
      hand(c, 1, peer, confirms, text, payload)
      handed(c)
    end
  end
end
save_all()
return reply
