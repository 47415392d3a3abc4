-- Creates a command, and publishes it to the nodes that have subscribers of its
-- channel. state.lua, bucket.lua and idempotency.lua stand before this.
-- KEYS, behind those of all scripts: [9] who is in the channel, [10] the idempotency key,
-- or a name of which nothing is kept; on one server also [11] the index of deadlines, [12] when
-- what was touched, [13] the app's counter of messages, if this counts the message, and [14] the
-- bucket of the key's requests, if this takes a token. On a cluster they lie in other slots.
-- ARGV, behind those of all scripts: [3] id, [4] channel, [5] payload, [6] from,
-- [7] ttl, [8] timeout, [9] expect (0: as many as are there, at least 1), [10]
-- collapse key, [11] channel of the snapshots, [12] id of the key that asks, [13]
-- fingerprint of the body ('': no idempotency key), [14] process that waits for the end
-- ('': none), [15] bytes, [16] hand-overs a minute (0: any number), [17] the share in
-- percent at which it is aborted (0: at none), and [18] of how many at least; [19] how the index
-- names the bucket's deadlines, [20] in how many ms to look there; [21] cap of messages (-1: none),
-- [22] when the counter expires (unix seconds), [23] tokens per second, [24] burst; [25] identity
-- of the node that asks, then the peers to whose connections it can write at once
-- Returns {ended, what}: 'created', and 1 if it was handed to those peers (0: nodes have to claim it);
-- 'repeated', and the id that was kept; 'rate', and milliseconds until the next token; or 'cap', 'nobody',
-- 'full' or 'conflict'. Without 'created', nothing was done, but that 'cap' is counted.
local grace = 2000 -- for a hand-over without a TTL
local most_queued = 100
local most_looked = 10 -- commands before this one
local id, channel, ttl = ARGV[3], ARGV[4], tonumber(ARGV[7])
local queue, listed = QUEUE .. channel, LISTED .. channel

if KEYS[14] then
  local given, wait = take(KEYS[14], 1, tonumber(ARGV[23]), tonumber(ARGV[24]), now)
  if given == 0 then
    return {ended, 'rate', wait}
  end
end
local over = false
if KEYS[13] then
  local used, cap = redis.call('INCR', KEYS[13]), tonumber(ARGV[21])
  if used == 1 then
    redis.call('EXPIREAT', KEYS[13], ARGV[22])
  end
  over = cap >= 0 and used > cap
end
local function uncount()
  if KEYS[13] then
    redis.call('DECR', KEYS[13])
  end
end

if ARGV[13] ~= '' then
  local known, was = repeated(KEYS[10], ARGV[13])
  if known and (known == 'repeated' or not over) then
    uncount()
    return {ended, known, was}
  end
end
if over then
  return {ended, 'cap'}
end

local there = math.max(0, redis.call('HLEN', KEYS[9]) - 1) -- the version is a field, too
if ttl == 0 and there == 0 then
  uncount()
  return {ended, 'nobody'}
end

local collapsed = {}
if ttl > 0 or ARGV[10] ~= '' then
  local waiting = redis.call('ZRANGE', queue, 0, -1)
  local places = #waiting
  if ARGV[10] ~= '' then
    for _, other in ipairs(waiting) do
      if redis.call('HGET', COMMAND .. other, 'collapse') == ARGV[10] then
        collapsed[#collapsed + 1], places = other, places - 1
      end
    end
  end
  if ttl > 0 and places >= most_queued then
    -- Some may have ended, and nobody has seen to it; some may be gone.
    local deadlines = redis.call('ZMSCORE', DEADLINES, unpack(waiting))
    for i, other in ipairs(waiting) do
      if (not deadlines[i] or tonumber(deadlines[i]) <= now) and not command(other) then
        redis.call('ZREM', queue, other)
      end
    end
    save_all()
    local taken = {}
    for _, other in ipairs(redis.call('ZRANGE', queue, 0, -1)) do
      taken[other] = true
    end
    places = 0
    for _ in pairs(taken) do
      places = places + 1
    end
    for _, other in ipairs(collapsed) do
      places = places - (taken[other] and 1 or 0)
    end
    if places >= most_queued then
      uncount()
      return {ended, 'full'}
    end
  end
end

local newest = redis.call('ZRANGE', listed, -1, -1, 'WITHSCORES')

-- all_have says whether the peers of the node that asks have been handed a command.
local function all_have(other)
  for i = 26, #ARGV do
    if redis.call('HEXISTS', COMMAND .. other, '@' .. ARGV[i]) == 0 then
      return false
    end
  end
  return true
end

-- none_before says whether the peers of the node that asks have been handed all commands before
-- this one that they can still be handed. The node hands them over in order, so nothing before a
-- command that all have needs a look.
local function none_before()
  if redis.call('EXISTS', queue) == 1 then
    return false
  end
  local before = newest
  for at = 1, most_looked do
    if not before[1] or tonumber(before[2]) + 1000 * grace < micros or all_have(before[1]) then
      return true
    end
    local c = load(before[1])
    if c and not final[c.status] and not is_over(c) then
      return false
    end
    before = redis.call('ZREVRANGE', listed, at, at, 'WITHSCORES')
  end
  return false
end

-- hands says whether the node that asks can write the command at once: its peers are all that are
-- in the channel, are on no other node, and get it in order.
local function hands()
  if #ARGV - 25 ~= there or there == 0 then
    return false
  end
  for _, who in ipairs(redis.call('HMGET', KEYS[9], unpack(ARGV, 26))) do
    if not who or who:sub(1, #ARGV[25] + 1) ~= ARGV[25] .. '\n' then
      return false
    end
  end
  return none_before()
end

-- Nodes get it when this run is over. Before anything is written: the user may not have
-- the right. The nodes of one that is handed over here already get what wildcard subscribers see.
local handed = hands()
if there > 0 then
  local message = handed and shown(ARGV[5], '\129') or ARGV[5]
  local sent = redis.pcall('PUBLISH', TOPICS .. channel, message)
  if type(sent) == 'table' then
    uncount()
    return sent
  end
  --cluster to_wildcards(TOPICS .. channel, message)
end

for _, other in ipairs(collapsed) do
  local c = command(other)
  if c and not final[c.status] then
    close(c)
    if finished(c) + pending(c) == 0 then
      finish(c, 'superseded')
    else
      conclude(c)
    end
  end
end
save_all()

local seq = text_of(math.max(micros, (tonumber(newest[2]) or 0) + 1))
local expect = tonumber(ARGV[9])
if expect == 0 then
  expect = math.max(1, there)
end
local open = now + (ttl == 0 and grace or ttl)
local kept = ARGV[13] ~= '' and KEYS[10] or ''
local fixed = string.format('%s %d %s %s %d %s %s %s\n%s\n%s\n%s\n%s\n%s', seq, now, ARGV[7], ARGV[8], expect, ARGV[16], ARGV[17], ARGV[18],
  channel, ARGV[11], kept, ARGV[12], ARGV[6])
local status, peers, next, bytes = 'waiting', 0, open, tonumber(ARGV[15])
local fields = {'fixed', fixed, 'payload', ARGV[5]}
if handed then
  status, peers, next, bytes = 'active', there, math.min(open, now + ARGV[8]), bytes + there * per_peer
  local record = written({status = 'sent', attempt = '1', sent = now_text, answered = '0', holder = '-', due = text_of(now + ARGV[8]), data = ''})
  for i = 26, #ARGV do
    fields[#fields + 1], fields[#fields + 2] = '@' .. ARGV[i], record
    remember(ARGV[i], open - now + ARGV[8], id)
  end
  if there > 1 then
    note(id, {unpack(ARGV, 26)}, 0, text_of(now + ARGV[8]))
  end
end
fields[#fields + 1] = 'state'
fields[#fields + 1] = string.format('%s %d 0 %d %d 0 0 0 0 0 %d 0 0 0 0 0 0', status, open, next, bytes, peers) .. (ARGV[14] ~= '' and ' ' .. ARGV[14] or '')
redis.call('HSET', COMMAND .. id, unpack(fields))
if ARGV[10] ~= '' then
  redis.call('HSET', COMMAND .. id, 'collapse', ARGV[10])
end
redis.call('PEXPIRE', COMMAND .. id, most_kept)
-- Others that are listed may have expired, if they are older than those that have ended are
-- kept. Two are looked at for each that comes.
if newest[2] then
  for _, oldest in ipairs(redis.call('ZRANGEBYSCORE', listed, '-inf', text_of(micros - 1000 * kept_for), 'LIMIT', 0, 2)) do
    if redis.call('EXISTS', COMMAND .. oldest) == 0 then
      redis.call('ZREM', listed, oldest)
    end
  end
end
redis.call('ZADD', listed, seq, id)
redis.call('PEXPIRE', listed, most_kept)
if ttl > 0 then
  redis.call('ZADD', queue, seq, id)
  redis.call('PEXPIRE', queue, most_kept)
end
deadline(id, next)
if tonumber(ARGV[16]) > 0 then
  deadline('p' .. id, now + pace_step)
end
if ARGV[13] ~= '' then
  keep(KEYS[10], ARGV[13], id, most_kept)
end
if KEYS[11] then
  due_touch(KEYS[11], KEYS[12], ARGV[19], now, tonumber(ARGV[20]))
end
return {ended, 'created', handed and 1 or 0}
