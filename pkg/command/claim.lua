-- Hands commands of one channel to peers of one node, each at most once unless it was
-- taken back. state.lua stands before this.
-- ARGV, behind those of all scripts: [3] id of a command ('': those that wait), [4]
-- channel, [5] identity of the node, [6] at most so many bytes of payloads, then for each
-- peer three: its id, 1 if it confirms (0: it does not), at most how many commands
-- Returns {ended, more, then for each hand-over: the place of the peer (from 1), id,
-- attempt, milliseconds until the TTL ends (-1: it has none), timeout, payload ('': it was
-- not asked for, or stands with an earlier hand-over of the same command)}. more is 1 if a
-- peer could be handed more commands.
local id, channel, identity, budget = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local reply, payloads, given = {ended, 0}, {}, {}

-- again says whether a hand-over that was taken back is to be repeated.
local function again(r, confirms) return r.holder == '*' and confirms and tonumber(r.attempt) < attempts end

local function hand(c, place, peer, confirms, old)
  local r = {status = 'sent', attempt = '1', sent = now_text, answered = '0', holder = confirms and identity or '-', data = ''}
  if old then
    r.attempt, r.data = text_of(old.attempt + 1), old.data
  else
    if pending(c) == 0 then
      c.first = now + c.timeout -- nobody else times out before, and nobody handed it in this run
    end
    c.counts.sent = c.counts.sent + 1
    c.moved = true
    c.bytes = c.bytes + per_peer
    redis.call('ZADD', PEERS .. c.id, 0, peer)
  end
  if confirms then
    redis.call('SADD', HELD .. identity, c.id .. ' ' .. peer)
    redis.call('PEXPIRE', HELD .. identity, most_kept)
  end
  put(c, peer, r)
  redis.call('ZADD', DUE .. c.id, text_of(now + c.timeout), peer)
  if c.status == 'waiting' then
    c.status = 'active'
    redis.call('PEXPIRE', PEERS .. c.id, most_kept)
    redis.call('PEXPIRE', DUE .. c.id, most_kept)
    -- The first hand-over: wildcard subscribers see it, as a message of its own.
    local payload = redis.call('HGET', COMMAND .. c.id, 'payload')
    redis.pcall('PUBLISH', TOPICS .. channel, '\3' .. payload:sub(2, 9) .. '\128' .. payload:sub(11))
  end
  c.changed = true
  local payload = payloads[c.id] or ''
  if payload ~= '' then
    payloads[c.id] = '' -- once is enough
  end
  local expires = c.waits and c.open - now or -1
  for _, value in ipairs({place, c.id, r.attempt, expires, c.timeout, payload}) do
    reply[#reply + 1] = value
  end
end

-- offer hands a command to a peer, if it may be.
local function offer(c, place, peer, confirms, text)
  local old = text and parse(text)
  if not old and in_pace(c) or old and again(old, confirms) then
    hand(c, place, peer, confirms, old)
    return true
  end
  return false
end

local function is_open(c) return c and not final[c.status] and c.open > now end

if id ~= '' then
  local c = command(id)
  if is_open(c) then
    for from = 7, #ARGV, 3 * at_once do
      local fields = {}
      for i = from, math.min(from + 3 * at_once, #ARGV) - 1, 3 do
        fields[#fields + 1] = '@' .. ARGV[i]
      end
      local texts = redis.call('HMGET', COMMAND .. id, unpack(fields))
      for i, text in ipairs(texts) do
        local at = from + 3 * (i - 1)
        offer(c, (at - 7) / 3 + 1, ARGV[at], ARGV[at + 1] == '1', c.records['@' .. ARGV[at]] or text)
      end
    end
  end
else
  for _, other in ipairs(redis.call('ZRANGE', QUEUE .. channel, 0, -1)) do
    local c = command(other)
    for at = 7, #ARGV, 3 do
      if not is_open(c) then
        break
      end
      local peer, confirms, place = ARGV[at], ARGV[at + 1] == '1', (at - 7) / 3 + 1
      local text = get(c, peer)
      if not text and in_pace(c) or text and again(parse(text), confirms) then
        if payloads[other] == nil then
          payloads[other] = redis.call('HGET', COMMAND .. other, 'payload')
          budget = budget - #payloads[other]
        end
        if (given[at] or 0) >= tonumber(ARGV[at + 2]) or budget < 0 and #reply > 2 then
          reply[2] = 1
        else
          given[at] = (given[at] or 0) + 1
          offer(c, place, peer, confirms, text)
        end
      end
    end
  end
end
save_all()
return reply
