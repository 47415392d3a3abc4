-- Takes the answers of peers to commands of one bucket. state.lua stands before this.
-- ARGV, behind those of all scripts: [3] the process that asks ('': it waits for no command), then for
-- each answer four: id of the command, peer, status, data
-- Returns {ended, what that process hears of commands that have ended and for which it waits
-- (state.lua, wake), then for each answer 'ok', 'late' (kept beside the timeout),
-- 'final' (another final answer stands), or 'not_found'}.
local reply = {ended, heard}
asking = ARGV[3]
local rank = {sent = 1, received = 2, running = 3, succeeded = 4, failed = 4, rejected = 4, timed_out = 4}

-- late takes an answer of a peer that has timed out.
local function late(c, peer, status, data)
  if not final[status] then
    return 'ok' -- an earlier state
  end
  local kept = redis.call('HGET', COMMAND .. c.id, '!' .. peer)
  if kept then
    local was, text = kept:match('^(%S+) %d+\n(.*)$')
    return was == status and text == data and 'late' or 'final'
  end
  redis.call('HSET', COMMAND .. c.id, '!' .. peer, status .. ' ' .. now_text .. '\n' .. data)
  c.bytes, c.changed = c.bytes + #data + 40, true
  return 'late'
end

-- progress takes an answer that changes the record.
local function progress(c, peer, r, status, data)
  if status ~= r.status then
    move(c, r, status)
  end
  local was_taken = r.holder == '*'
  release(c, peer, r)
  c.bytes, c.changed = c.bytes + #data - #r.data, true
  r.data, r.answered = data, now_text
  if not final[status] and (status == 'running' or was_taken) then
    due_at(c, peer, r, text_of(math.min(now + c.timeout, r.sent + math.max(most_running, c.timeout))))
    remember(peer, r.due - now)
  end
  put(c, peer, r)
  if final[status] then
    undue(c, peer)
    conclude(c)
  end
  return 'ok'
end

local function answer(id, peer, status, data)
  local c = command(id, '@' .. peer)
  local text = c and get(c, peer)
  if not text then
    return 'not_found'
  end
  local r = parse(text)
  if r.status == 'timed_out' then
    return late(c, peer, status, data)
  elseif final[r.status] then
    if not final[status] or r.status == status and r.data == data then
      return 'ok'
    end
    return 'final'
  elseif rank[status] < rank[r.status] or status == 'received' and r.status == 'received' then
    return 'ok'
  end
  return progress(c, peer, r, status, data)
end

for i = 4, #ARGV, 4 do
  reply[#reply + 1] = answer(ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
save_all()
return reply
