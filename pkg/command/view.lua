-- What scripts return of commands and their peers. state.lua stands before this.

local fetched = 25 -- records at once, of which each has up to 32 KiB

-- behind is at most limit ids of peers behind after, in order.
local function behind(c, after, limit)
  if c.peers > 1 then
    return redis.call('ZRANGEBYLEX', PEERS .. c.id, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit)
  end
  return c.peers == 1 and after == '' and {lone(c)} or {}
end

-- records are those of at most limit peers behind after, and of at most bytes: peer,
-- record, late answer or '' for each. Behind them comes the peer to go on behind, '' if
-- there are no others.
local function records(c, after, limit, bytes, status)
  local flat, size, last, found = {}, 0, '', {}
  local peers = behind(c, after, limit + 1)
  for i, peer in ipairs(peers) do
    if i > limit then
      return flat, last
    end
    local at = (i - 1) % fetched
    if at == 0 then
      local fields = {}
      for j = i, math.min(i + fetched - 1, #peers) do
        fields[#fields + 1], fields[#fields + 2] = '@' .. peers[j], '!' .. peers[j]
      end
      found = redis.call('HMGET', COMMAND .. c.id, unpack(fields))
    end
    local record, late = found[2 * at + 1], found[2 * at + 2]
    if record and (status == '' or record:sub(1, #status + 1) == status .. ' ') then
      size = size + #peer + #record + #(late or '') + per_peer
      if size > bytes and #flat > 0 then
        return flat, last
      end
      flat[#flat + 1], flat[#flat + 2], flat[#flat + 3] = peer, record, late or ''
    end
    last = peer
  end
  return flat, ''
end

local most_shown, most_shown_bytes = 20, 262144 -- records that come with a command

-- view is a command as Go reads it: its id, the fields fixed, state and payload, 1 if
-- peers that are due are left for another run, the first records, and the peer to go on behind.
local function view(c)
  local flat, next = {}, ''
  if finished(c) + pending(c) > 0 then
    flat, next = records(c, '', most_shown, most_shown_bytes, '')
  end
  local payload = c.records.payload or redis.call('HGET', COMMAND .. c.id, 'payload')
  return {c.id, c.fixed, c.text, payload, c.more and 1 or 0, flat, next}
end
