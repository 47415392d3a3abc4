-- What all scripts of commands share: how a command is kept, and how it changes.
-- clock.lua stands before this. An id here is that of the command without the part
-- that names the bucket.
-- KEYS of every script: what the names of the bucket's keys begin with, in this order,
-- and [7] the bucket's deadlines.
-- ARGV of every script: [1] what the topics of the bucket's channels begin with, [2]
-- what the topics of the processes that wait begin with.
--
-- A command is a hash (COMMAND):
--   status, channel, from, payload (what create.lua publishes), seq (its place in the
--   channel), created, ttl, open (until when it may be handed over), timeout, expect,
--   counts (how many peers are in each of states, in that order), missing, ended, next
--   (its deadline, 0: none), kept (its idempotency key), collapse, wake (processes that
--   wait for its end), bytes (roughly, of all of it); notify (the channel of the snapshots),
--   key (whose command it is), told (when the last snapshot was taken), tell (when the next
--   is due, 0: none is), untold (1: something has changed since the last); pace (hand-overs a
--   minute, 0: any number), failed_pct and min_answered (when a rollout is aborted)
-- and for each peer that was handed it '@'peer, a record:
--   STATUS ATTEMPT SENT ANSWERED HOLDER, newline, data
-- and '!'peer, if an answer came after the peer had timed out:
--   STATUS ANSWERED, newline, data
-- HOLDER is the identity of the node whose subscriber asked for confirm and has not
-- confirmed yet; '*': the hand-over was taken back; '-': neither. All times are in
-- milliseconds since 1970. PEERS has the ids of these peers in order, DUE when the
-- unfinished ones time out, QUEUE the commands of a channel that may still be handed
-- to peers that subscribe, LISTED all that are kept, both by seq, and HELD what a node
-- holds: 'id peer'.
local COMMAND, PEERS, DUE, QUEUE, LISTED, HELD, DEADLINES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local TOPICS, WAKE = ARGV[1], ARGV[2]

local states = {'sent', 'received', 'running', 'succeeded', 'failed', 'rejected', 'timed_out'}
local rank = {sent = 1, received = 2, running = 3, succeeded = 4, failed = 4, rejected = 4, timed_out = 4}
local final = {succeeded = true, failed = true, rejected = true, timed_out = true, mixed = true,
  expired = true, cancelled = true, superseded = true, aborted = true}
local day = 86400000
local kept_for = day -- an ended command, and its idempotency key
local most_running = 7 * day -- from hand-over, however often running starts the timeout anew
local most_kept = 16 * day -- a command of which nobody sees the end
local attempts = 5
local pace_step = 1000 -- at least, between two tries to hand over at a pace
local per_peer = 340 -- bytes of a record, beside its data
local at_once = 500 -- due peers of one run, and arguments of one call: Lua's stack is bounded

-- What the script returns beside its answer: the id and bytes of each command that has
-- ended in this run, for the budget of the app (pkg/command, retain); and '!', 0 if it set
-- deadlines that its caller does not know of, for which nodes have to look there.
local ended = {}

local function number(n) return string.format('%.0f', n) end

local function deadline(id, at)
  if at == 0 then
    due_clear(DEADLINES, id)
  else
    due_set(DEADLINES, id, number(at))
  end
end

local function load(id)
  local v = redis.call('HMGET', COMMAND .. id, 'status', 'channel', 'created', 'ttl', 'open', 'timeout',
    'expect', 'counts', 'next', 'kept', 'wake', 'bytes', 'seq', 'notify', 'told', 'tell', 'untold', 'pace', 'failed_pct',
    'min_answered')
  if not v[1] then
    return nil
  end
  local c = {id = id, status = v[1], channel = v[2], created = tonumber(v[3]), ttl = tonumber(v[4]), open = tonumber(v[5]),
    timeout = tonumber(v[6]), expect = tonumber(v[7]), counts = {}, next = tonumber(v[9]), kept = v[10], wake = v[11],
    bytes = tonumber(v[12]), seq = v[13], notify = v[14], told = tonumber(v[15]), tell = tonumber(v[16]), untold = v[17],
    pace = tonumber(v[18]), failed_pct = tonumber(v[19]), min_answered = tonumber(v[20]),
    fields = {}, records = {}}
  local i = 0
  for n in v[8]:gmatch('%d+') do
    i = i + 1
    c.counts[states[i]] = tonumber(n)
  end
  return c
end

local function finished(c)
  local n = c.counts
  return n.succeeded + n.failed + n.rejected + n.timed_out
end

local function pending(c) return c.counts.sent + c.counts.received + c.counts.running end

local function parse(text)
  local status, attempt, sent, answered, holder, data = text:match('^(%S+) (%d+) (%d+) (%d+) (%S+)\n(.*)$')
  return {status = status, attempt = tonumber(attempt), sent = tonumber(sent), answered = tonumber(answered), holder = holder, data = data}
end

local function written(r)
  return r.status .. ' ' .. r.attempt .. ' ' .. number(r.sent) .. ' ' .. number(r.answered) .. ' ' .. r.holder .. '\n' .. r.data
end

-- get is a peer's record as text; put has save write it, together with the command.
local function get(c, peer)
  return c.records[peer] or redis.call('HGET', COMMAND .. c.id, '@' .. peer)
end

local function put(c, peer, r)
  local text = written(r)
  c.records[peer] = text
  c.fields[#c.fields + 1], c.fields[#c.fields + 2] = '@' .. peer, text
  c.changed = true
end

-- unqueue has nobody else be handed the command when it subscribes.
local function unqueue(c)
  if c.ttl > 0 then
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
  redis.call('ZREM', DUE .. c.id, peer)
end

local function finish(c, status)
  c.status, c.ended, c.changed, c.moved = status, now, true, true
  if c.pace > 0 then
    deadline('p' .. c.id, 0)
  end
  c.missing = math.max(0, c.expect - finished(c) - pending(c))
  unqueue(c)
  redis.call('PEXPIRE', COMMAND .. c.id, kept_for)
  if finished(c) + pending(c) > 0 then
    redis.call('PEXPIRE', PEERS .. c.id, kept_for)
  end
  if pending(c) > 0 then
    redis.call('PEXPIRE', DUE .. c.id, kept_for)
  end
  if c.kept ~= '' then
    redis.call('PEXPIRE', c.kept, kept_for)
  end
  for process in c.wake:gmatch('[^ ]+') do
    redis.pcall('PUBLISH', WAKE .. process, c.id)
  end
  ended[#ended + 1], ended[#ended + 2] = c.id, number(c.bytes)
end

-- close stops the hand-over. Peers whose hand-over was taken back time out.
local function close(c)
  local taken = redis.call('ZRANGEBYSCORE', DUE .. c.id, number(c.open), number(c.open))
  c.open, c.changed = math.min(c.open, now), true
  unqueue(c)
  for _, peer in ipairs(taken) do
    local r = parse(get(c, peer))
    if r.holder == '*' then
      time_out(c, peer, r)
    end
  end
end

-- fails says whether a rollout has to stop.
local function fails(c, done)
  local n = c.counts
  return c.failed_pct > 0 and done >= c.min_answered and (n.failed + n.rejected + n.timed_out) * 100 >= c.failed_pct * done
end

-- conclude ends the command if nothing more can change its status.
local function conclude(c)
  if final[c.status] then
    return
  end
  local done, handed = finished(c), finished(c) + pending(c)
  if done >= c.expect then
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
  elseif c.open <= now then
    unqueue(c)
    if handed == done then
      finish(c, handed == 0 and 'expired' or 'mixed')
    end
  end
end

-- settle sees to what has fallen due. If it could not see to everything in this run,
-- c.more is set.
local function settle(c)
  if c.next == 0 or c.next > now then
    return
  end
  local due = redis.call('ZRANGEBYSCORE', DUE .. c.id, '-inf', number(now), 'WITHSCORES', 'LIMIT', 0, at_once)
  for i = 1, #due, 2 do
    -- A rollout stops at the first moment at which too many had failed.
    if c.failed_pct > 0 and i > 1 and due[i + 1] ~= due[i - 1] then
      conclude(c)
    end
    local r = parse(get(c, due[i]))
    if not final[r.status] then -- else it was closed
      time_out(c, due[i], r)
    end
  end
  c.more, c.changed = #due == 2 * at_once, true
  if not c.more then
    conclude(c)
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
    due = c.first or tonumber(redis.call('ZRANGE', DUE .. c.id, 0, 0, 'WITHSCORES')[2])
  end
  if not final[c.status] and c.open > now and (due == 0 or c.open < due) then
    due = c.open
  end
  local counts = {}
  for i, status in ipairs(states) do
    counts[i] = c.counts[status]
  end
  local fields = c.fields
  if #fields > at_once then
    for i = 1, #fields, at_once do
      redis.call('HSET', COMMAND .. c.id, unpack(fields, i, math.min(i + at_once - 1, #fields)))
    end
    fields = {}
  end
  for _, value in ipairs({'status', c.status, 'counts', table.concat(counts, ' '), 'open', number(c.open), 'next', number(due),
    'wake', c.wake, 'bytes', number(c.bytes)}) do
    fields[#fields + 1] = value
  end
  if c.ended then
    fields[#fields + 1], fields[#fields + 2], fields[#fields + 3], fields[#fields + 4] = 'ended', number(c.ended), 'missing', c.missing
  end
  redis.call('HSET', COMMAND .. c.id, unpack(fields))
  if c.moved and c.notify ~= '' then
    local tell = math.max(now, c.told + 1000)
    if c.tell == 0 or tell < c.tell then
      c.tell = tell
      deadline('n' .. c.id, tell)
      ended[#ended + 1], ended[#ended + 2] = '!', '0'
    end
    redis.call('HSET', COMMAND .. c.id, 'untold', '1', 'tell', number(c.tell))
  end
  if due ~= c.next then
    deadline(c.id, due)
    c.next = due
  end
  c.changed, c.moved, c.ended, c.first, c.fields = false, false, nil, nil, {}
end

-- in_pace says whether one more peer may be handed the command now.
local function in_pace(c)
  return c.pace == 0 or finished(c) + pending(c) < 1 + math.floor((now - c.created) * c.pace / 60000)
end

-- The commands of this run, each loaded and settled once.
local commands, loaded = {}, {}

local function command(id)
  local c = commands[id]
  if c == nil then
    c = load(id) or false
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

-- records are those of at most limit peers behind after, and of at most bytes: peer,
-- record, late answer or '' for each. Behind them comes the peer to go on behind, '' if
-- there are no others.
local function records(id, after, limit, bytes, status)
  local flat, size, last = {}, 0, ''
  local peers = redis.call('ZRANGEBYLEX', PEERS .. id, after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, limit + 1)
  for i, peer in ipairs(peers) do
    if i > limit then
      return flat, last
    end
    local v = redis.call('HMGET', COMMAND .. id, '@' .. peer, '!' .. peer)
    if v[1] and (status == '' or v[1]:sub(1, #status + 1) == status .. ' ') then
      size = size + #peer + #v[1] + #(v[2] or '') + per_peer
      if size > bytes and #flat > 0 then
        return flat, last
      end
      flat[#flat + 1], flat[#flat + 2], flat[#flat + 3] = peer, v[1], v[2] or ''
    end
    last = peer
  end
  return flat, ''
end

-- view is a command as Go reads it: its id, the fields in shown, 1 if not everything that
-- is due was seen to, the first records, and the peer to go on behind.
local shown = {'status', 'channel', 'from', 'payload', 'seq', 'created', 'ttl', 'timeout', 'expect', 'counts', 'missing'}
local most_shown, most_shown_bytes = 20, 262144 -- records that come with a command

local function view(c)
  local flat, next = records(c.id, '', most_shown, most_shown_bytes, '')
  return {c.id, redis.call('HMGET', COMMAND .. c.id, unpack(shown)), c.more and 1 or 0, flat, next}
end
