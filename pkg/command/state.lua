-- What all scripts of commands share: how a command is kept, and how it changes.
-- deadline.lua and clock.lua stand before this. An id here is that of the command without the part
-- that names the bucket.
-- KEYS of every script: what the names of the bucket's keys begin with, in this order,
-- but [7], the bucket's deadlines.
-- ARGV of every script: [1] what the topics of the bucket's channels begin with, [2]
-- what the topics of the processes that wait begin with.
--
-- A command is a hash (COMMAND). Fields take memory and time, so there are few:
--   fixed: SEQ CREATED TTL TIMEOUT EXPECT PACE FAILED_PCT MIN_ANSWERED, and on lines of their
--   own channel, notify, kept, key and from. SEQ is its place in the channel, PACE its hand-overs
--   a minute (0: any number), the next two say when a rollout is aborted; notify is the channel
--   of the snapshots ('': none), kept its idempotency key ('': none), key whose command it is
--   state: STATUS OPEN CLOSED NEXT BYTES TOLD TELL UNTOLD ENDED MISSING, how many peers are sent,
--   received, running, succeeded, failed, rejected and timed_out, and the processes that wait for
--   its end. It may be handed over until OPEN, unless
--   CLOSED is 1; NEXT is its deadline (0: none); BYTES are roughly
--   those of all of it; TOLD is when the last snapshot was taken, TELL when the next is due (0:
--   none is), UNTOLD 1 if something has changed since the last
--   payload: what create.lua publishes
--   collapse: its key, if it has one
-- and for each peer that was handed it '@'peer, a record:
--   STATUS ATTEMPT SENT ANSWERED HOLDER DUE, newline, data
-- and '!'peer, if an answer came after the peer had timed out:
--   STATUS ANSWERED, newline, data
-- HOLDER is the identity of the node whose subscriber asked for confirm and has not
-- confirmed yet; '*': the hand-over was taken back; '-': neither. All times are in
-- milliseconds since 1970. DUE is when the peer times out if it is not finished. PEERS has the ids
-- of these peers in order, and DUE when the unfinished ones time out. Neither is there until a
-- command has two peers: most have one. QUEUE the commands of a channel that may still be handed
-- to peers that subscribe, LISTED all that are kept, both by seq, and HELD what a node
-- holds: 'id peer'. OF lists the commands that a peer was handed, the newest first: 'when id'.
local COMMAND, PEERS, DUE, QUEUE, LISTED, HELD, DEADLINES, OF = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8]
local TOPICS, WAKE = ARGV[1], ARGV[2]

local final = {succeeded = true, failed = true, rejected = true, timed_out = true, mixed = true,
  expired = true, cancelled = true, superseded = true, aborted = true}
local day = 86400000
local kept_for = day -- an ended command, and its idempotency key
local most_running = 7 * day -- from hand-over, however often running starts the timeout anew
local most_kept = 16 * day -- a command of which nobody sees the end
local attempts = 5
local pace_step = 1000 -- at least, between two tries to hand over at a pace
local per_peer = 340 -- bytes of a record, beside its data
local at_once = 150 -- peers of one run: Redis is through with them in a millisecond
local arguments = 500 -- of one call: Lua's stack is bounded

-- What the script returns beside its answer: the id of each command that has ended in this run, its
-- bytes, for the budget of the app (pkg/command, retain), and its status; and '!', 0 if it set
-- deadlines that its caller does not know of, for which nodes have to look there.
local ended = {}

-- text_of is a whole number as text. Redis and Lua would take longer for it, as they write any
-- number with a fraction.
local function text_of(n) return string.format('%d', n) end
local now_text = text_of(now)

local function deadline(id, at)
  if at == 0 then
    due_clear(DEADLINES, id)
  else
    due_set(DEADLINES, id, text_of(at))
  end
end

local fixed_form = '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+ %d+ %d+)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)'
local state_form = '^(%S+) (%d+) (%d) (%d+) (%d+) (%d+ %d+ %d) (%d+ %d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+)(.*)$'

-- load reads a command, and one field more of its hash, if it is named. Parts that are seldom
-- looked at stay text.
local function load(id, field)
  local v = redis.call('HMGET', COMMAND .. id, 'fixed', 'state', field or 'state')
  if not v[1] then
    return nil
  end
  local seq, created, ttl, timeout, expect, rollout, channel, notify, kept, key = v[1]:match(fixed_form)
  local status, open, closed, next, bytes, tells, outcome, sent, received, running, succeeded, failed, rejected, timed_out, wake = v[2]:match(state_form)
  local counts = {sent = tonumber(sent), received = tonumber(received), running = tonumber(running), succeeded = tonumber(succeeded),
    failed = tonumber(failed), rejected = tonumber(rejected), timed_out = tonumber(timed_out)}
  -- All fields that a command may have stand here, so that Lua need not make room for them again and again.
  return {id = id, fixed = v[1], text = v[2], fields = {}, records = field and {[field] = v[3]} or {},
    seq = seq, created = created, waits = ttl ~= '0', timeout = tonumber(timeout), expect = expect, rollout = rollout, paced = rollout ~= '0 0 0',
    channel = channel, notify = notify, kept = kept, key = key,
    status = status, open = tonumber(open), closed = closed, next = tonumber(next), bytes = tonumber(bytes), tells = tells, outcome = outcome,
    counts = counts, wake = wake,
    -- peers are those that PEERS and DUE have, if they are more than one
    peers = counts.sent + counts.received + counts.running + counts.succeeded + counts.failed + counts.rejected + counts.timed_out,
    lone = false, last = false, changed = false, moved = false, wakes = false, first = false, more = false, handed = false}
end

-- state_of is the field state of a command.
local function state_of(c)
  local n = c.counts
  return string.format('%s %d %s %d %d %s %s %d %d %d %d %d %d %d%s', c.status, c.open, c.closed, c.next, c.bytes, c.tells, c.outcome,
    n.sent, n.received, n.running, n.succeeded, n.failed, n.rejected, n.timed_out, c.wake)
end

local function finished(c)
  local n = c.counts
  return n.succeeded + n.failed + n.rejected + n.timed_out
end

local function pending(c) return c.counts.sent + c.counts.received + c.counts.running end

-- parse reads a record, all of it as text.
local function parse(text)
  local status, attempt, sent, answered, holder, due, data = text:match('^(%S+) (%d+) (%d+) (%d+) (%S+) (%S+)\n(.*)$')
  return {status = status, attempt = attempt, sent = sent, answered = answered, holder = holder, due = due, data = data}
end

local function written(r)
  return r.status .. ' ' .. r.attempt .. ' ' .. r.sent .. ' ' .. r.answered .. ' ' .. r.holder .. ' ' .. r.due .. '\n' .. r.data
end

-- get is a peer's record as text; put has save write it, together with the command.
local function get(c, peer)
  local field = '@' .. peer
  local text = c.records[field]
  if text == nil then
    text = redis.call('HGET', COMMAND .. c.id, field)
  end
  if text and c.peers == 1 then
    c.lone = peer
  end
  return text
end

-- lone is the peer of a command that has one.
local function lone(c)
  if not c.lone then
    for _, field in ipairs(redis.call('HKEYS', COMMAND .. c.id)) do
      if field:sub(1, 1) == '@' then
        c.lone = field:sub(2)
      end
    end
  end
  return c.lone
end

local function put(c, peer, r)
  local field, text = '@' .. peer, written(r)
  c.records[field] = text
  c.fields[#c.fields + 1], c.fields[#c.fields + 2] = field, text
  c.changed, c.last = true, peer
end

-- unqueue has nobody else be handed the command when it subscribes.
local function unqueue(c)
  if c.waits then
    redis.call('ZREM', QUEUE .. c.channel, c.id)
  end
end

-- move has a peer go on to another state.
local function move(c, r, status)
  c.counts[r.status] = c.counts[r.status] - 1
  c.counts[status] = c.counts[status] + 1
  r.status = status
  c.changed, c.moved = true, true
end

-- release: the node that holds the hand-over need not see to it any more.
local function release(c, peer, r)
  if r.holder ~= '-' and r.holder ~= '*' then
    redis.call('SREM', HELD .. r.holder, c.id .. ' ' .. peer)
  end
  r.holder = '-'
end

-- time_out is the end of a peer that has not answered.
local function time_out(c, peer, r)
  move(c, r, 'timed_out')
  release(c, peer, r)
  put(c, peer, r)
end

-- undue: peers do not time out any more.
local function undue(c, ...)
  if c.peers > 1 then
    redis.call('ZREM', DUE .. c.id, ...)
  end
end

-- due_at has a peer time out at an instant. The caller puts its record.
local function due_at(c, peer, r, at)
  r.due = at
  if c.peers > 1 then
    redis.call('ZADD', DUE .. c.id, at, peer)
  end
end

-- fetch reads the records of peers at once.
local function fetch(c, peers)
  local fields = {}
  for i, peer in ipairs(peers) do
    fields[i] = '@' .. peer
  end
  for i, text in ipairs(redis.call('HMGET', COMMAND .. c.id, unpack(fields))) do
    c.records[fields[i]] = c.records[fields[i]] or text
  end
end

local function finish(c, status)
  c.status, c.changed, c.moved = status, true, true
  if c.paced then
    deadline('p' .. c.id, 0)
  end
  c.outcome = now_text .. ' ' .. math.max(0, c.expect - finished(c) - pending(c))
  unqueue(c)
  redis.call('PEXPIRE', COMMAND .. c.id, kept_for)
  if c.peers > 1 then
    redis.call('PEXPIRE', PEERS .. c.id, kept_for)
    redis.call('PEXPIRE', DUE .. c.id, kept_for)
  end
  if c.kept ~= '' then
    redis.call('PEXPIRE', c.kept, kept_for)
  end
  c.wakes = c.wake ~= ''
  ended[#ended + 1], ended[#ended + 2] = c.id, text_of(c.bytes) .. ' ' .. status
end

-- is_over says whether the hand-over has ended.
local function is_over(c) return c.closed == '1' or c.open <= now end

-- until_open is when peers time out whose hand-over was taken back. No other peers do then.
local function until_open(c) return string.format('%d.5', c.open - 1) end

-- end_taken times out the peers whose hand-over was taken back, after it was closed.
local function end_taken(c)
  local taken = {}
  if c.peers > 1 then
    taken = redis.call('ZRANGEBYSCORE', DUE .. c.id, until_open(c), until_open(c), 'LIMIT', 0, at_once)
  elseif c.peers == 1 and parse(get(c, lone(c))).holder == '*' then
    taken = {lone(c)}
  end
  if #taken == 0 then
    return
  end
  fetch(c, taken)
  for _, peer in ipairs(taken) do
    time_out(c, peer, parse(get(c, peer)))
  end
  undue(c, unpack(taken))
  if #taken == at_once then
    c.more = true
    ended[#ended + 1], ended[#ended + 2] = '!', '0'
  end
end

-- close stops the hand-over. Peers whose hand-over was taken back time out; if there are many,
-- some do in this run, and c.more is set.
local function close(c)
  c.closed, c.changed = '1', true
  unqueue(c)
  end_taken(c)
end

-- fails says whether a rollout has to stop.
local function fails(c, done)
  if not c.paced then
    return false
  end
  local n, failed_pct, min_answered = c.counts, c.rollout:match('(%d+) (%d+)$')
  return failed_pct ~= '0' and done >= tonumber(min_answered) and (n.failed + n.rejected + n.timed_out) * 100 >= failed_pct * done
end

-- conclude ends the command if nothing more can change its status.
local function conclude(c)
  if final[c.status] then
    return
  end
  local done, handed = finished(c), finished(c) + pending(c)
  if done >= tonumber(c.expect) then
    local status = 'mixed'
    for _, s in ipairs({'succeeded', 'failed', 'rejected', 'timed_out'}) do
      if c.counts[s] == done then
        status = s
      end
    end
    finish(c, status)
  elseif fails(c, done) then
    close(c)
    finish(c, 'aborted')
  elseif is_over(c) then
    unqueue(c)
    if handed == done then
      finish(c, handed == 0 and 'expired' or 'mixed')
    end
  end
end

-- due_now are the first peers that have to time out, and when, in turns.
local function due_now(c)
  if c.peers > 1 then
    return redis.call('ZRANGEBYSCORE', DUE .. c.id, '-inf', now_text, 'WITHSCORES', 'LIMIT', 0, at_once)
  elseif pending(c) == 0 then
    return {}
  end
  local at = parse(get(c, lone(c))).due
  return tonumber(at) <= now and {lone(c), at} or {}
end

-- first_due is when the next peer times out.
local function first_due(c)
  local at
  if c.peers > 1 then
    at = redis.call('ZRANGE', DUE .. c.id, 0, 0, 'WITHSCORES')[2]
  else
    at = parse(get(c, lone(c))).due
  end
  return math.ceil(tonumber(at))
end

-- settle sees to what has fallen due. If it could not see to everything in this run,
-- c.more is set.
local function settle(c)
  if c.next == 0 or c.next > now then
    return
  end
  c.changed = true
  if c.closed == '1' then
    end_taken(c)
    if c.more then
      return
    end
  end
  local due, peers = due_now(c), {}
  for i = 1, #due, 2 do
    peers[#peers + 1] = due[i]
  end
  if #peers > 0 then
    fetch(c, peers)
  end
  for i, peer in ipairs(peers) do
    -- A rollout stops at the first moment at which too many had failed.
    if c.paced and i > 1 and math.ceil(due[2 * i]) ~= math.ceil(due[2 * i - 2]) then -- until_open lies before its ms
      conclude(c)
    end
    local r = parse(get(c, peer))
    if not final[r.status] then -- else it was closed
      time_out(c, peer, r)
    end
  end
  if #peers > 0 then
    undue(c, unpack(peers))
  end
  c.more = c.more or #peers == at_once
  if not c.more then
    conclude(c)
  end
end

-- tells says when the last snapshot was taken, when the next is due (0: none is), and whether
-- something has changed since the last ('1').
local function tells(c)
  local taken_at, next_at, unsent = c.tells:match('^(%d+) (%d+) (%d)$')
  return tonumber(taken_at), tonumber(next_at), unsent
end

-- note has peers be among those of a command that has had so many, and time out at an instant.
local function note(id, list, had, at)
  local peers, due = {}, {}
  for i, peer in ipairs(list) do
    peers[2 * i - 1], peers[2 * i], due[2 * i - 1], due[2 * i] = '0', peer, at, peer
  end
  redis.call('ZADD', PEERS .. id, unpack(peers))
  redis.call('ZADD', DUE .. id, unpack(due))
  if had <= 1 then
    redis.call('PEXPIRE', PEERS .. id, most_kept)
    redis.call('PEXPIRE', DUE .. id, most_kept)
  end
end

-- shown is what subscribers by wildcard see of a command when it is first handed over: the same
-- message with another number.
local function shown(payload, mark)
  return '\3' .. payload:sub(2, 9) .. mark .. payload:sub(11)
end

-- wake tells the processes that wait that the command has ended: its id, and if one peer has it,
-- all that they do not know of it. So they need not read it. The process that asks reads it in
-- heard, with the answer to its call.
local asking, heard = nil, {}
local function wake(c)
  local said, record = c.id, c.last and c.records['@' .. c.last]
  if record and finished(c) + pending(c) == 1 then
    said = string.format('%s%d %d %d\n', said, #c.fixed, #c.text, #c.last) .. c.fixed .. c.text .. c.last .. record
  end
  for process in c.wake:gmatch('[^ ]+') do
    if process == asking then
      heard[#heard + 1] = said
    else
      redis.pcall('PUBLISH', WAKE .. process, said) -- to all nodes
    end
  end
end

-- save writes what has changed, and sets the command's deadline: when the next peer
-- times out, or the hand-over ends.
local function save(c)
  if not c.changed then
    return
  end
  local due = 0
  if pending(c) > 0 then
    due = c.first or first_due(c)
  end
  if not final[c.status] and not is_over(c) and (due == 0 or c.open < due) then
    due = c.open
  end
  if c.more then
    due = now
  end
  if c.moved and c.notify ~= '' then
    local taken_at, next_at = tells(c)
    local at = math.max(now, taken_at + 1000)
    if next_at == 0 or at < next_at then
      next_at = at
      deadline('n' .. c.id, next_at)
      ended[#ended + 1], ended[#ended + 2] = '!', '0'
    end
    c.tells = string.format('%d %d 1', taken_at, next_at)
  end
  if due ~= c.next then
    deadline(c.id, due)
    c.next = due
  end
  local fields = c.fields
  if #fields > arguments then
    for i = 1, #fields, arguments do
      redis.call('HSET', COMMAND .. c.id, unpack(fields, i, math.min(i + arguments - 1, #fields)))
    end
    fields = {}
  end
  c.text = state_of(c)
  fields[#fields + 1], fields[#fields + 2] = 'state', c.text
  redis.call('HSET', COMMAND .. c.id, unpack(fields))
  if c.wakes then
    wake(c)
  end
  c.changed, c.moved, c.wakes, c.first, c.fields = false, false, false, nil, {}
end

-- pace is how many hand-overs there may be in a minute.
local function pace(c) return tonumber(c.rollout:match('^%d+')) end

-- in_pace says whether one more peer may be handed the command now.
local function in_pace(c)
  return not c.paced or finished(c) + pending(c) < 1 + math.floor((now - c.created) * pace(c) / 60000)
end

-- remember has the list of a peer's commands live as long as the command may; with id, it puts the
-- command there that the peer was handed now. lasts is how long the hand-over takes at most.
local most_of_peer = 100 -- commands that are listed of a peer in a bucket
local function remember(peer, lasts, id)
  local list, life = OF .. peer, lasts + kept_for
  local n = id and redis.call('LPUSH', list, now_text .. ' ' .. id)
  if n == 1 or redis.call('PTTL', list) < life then
    redis.call('PEXPIRE', list, life + 3600000) -- an hour more, so that this is not to be done each time
  end
  if n and n > 1.5 * most_of_peer then
    redis.call('LTRIM', list, 0, most_of_peer - 1)
  end
end

-- The commands of this run, each loaded and settled once.
local commands, loaded = {}, {}

local function command(id, field)
  local c = commands[id]
  if c == nil then
    c = load(id, field) or false
    commands[id], loaded[#loaded + 1] = c, c
    if c then
      settle(c)
    end
  end
  return c
end

local function save_all()
  for _, c in ipairs(loaded) do
    if c then
      save(c)
    end
  end
end
