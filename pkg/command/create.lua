-- Creates a command, and publishes it to the nodes that have subscribers of its
-- channel. state.lua and idempotency.lua stand before this.
-- KEYS, behind those of all scripts: [8] who is in the channel, [9] the idempotency key,
-- or a name of which nothing is kept
-- ARGV, behind those of all scripts: [3] id, [4] channel, [5] payload, [6] from,
-- [7] ttl, [8] timeout, [9] expect (0: as many as are there, at least 1), [10]
-- collapse key, [11] channel of the snapshots, [12] id of the key that asks, [13]
-- fingerprint of the body ('': no idempotency key), [14] process that waits for the end
-- ('': none), [15] bytes, [16] hand-overs a minute (0: any number), [17] the share in
-- percent at which it is aborted (0: at none), and [18] of how many at least
-- Returns {ended, what}: 'created'; 'repeated', and the id that was kept; or 'nobody',
-- 'full' or 'conflict', and then nothing was done.
local grace = 2000 -- for a hand-over without a TTL
local most_queued = 100
local id, channel, ttl = ARGV[3], ARGV[4], tonumber(ARGV[7])
local queue, listed = QUEUE .. channel, LISTED .. channel

if ARGV[13] ~= '' then
  local known, was = repeated(KEYS[9], ARGV[13])
  if known then
    return {ended, known, was}
  end
end

local there = math.max(0, redis.call('HLEN', KEYS[8]) - 1) -- the version is a field, too
if ttl == 0 and there == 0 then
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
      return {ended, 'full'}
    end
  end
end

-- Nodes get it when this run is over. Before anything is written: the user may not have
-- the right.
if there > 0 then
  redis.call('PUBLISH', TOPICS .. channel, ARGV[5])
  --cluster to_wildcards(TOPICS .. channel, ARGV[5])
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

local last = redis.call('ZRANGE', listed, -1, -1, 'WITHSCORES')[2]
local seq = text_of(math.max(micros, (tonumber(last) or 0) + 1))
local expect = tonumber(ARGV[9])
if expect == 0 then
  expect = math.max(1, there)
end
local open = now + (ttl == 0 and grace or ttl)
local kept = ARGV[13] ~= '' and KEYS[9] or ''
local fixed = string.format('%s %d %s %s %d %s %s %s\n%s\n%s\n%s\n%s\n%s', seq, now, ARGV[7], ARGV[8], expect, ARGV[16], ARGV[17], ARGV[18],
  channel, ARGV[11], kept, ARGV[12], ARGV[6])
local state = string.format('waiting %d 0 %d %s 0 0 0 0 0 0 0 0 0 0 0 0', open, open, ARGV[15]) .. (ARGV[14] ~= '' and ' ' .. ARGV[14] or '')
redis.call('HSET', COMMAND .. id, 'fixed', fixed, 'state', state, 'payload', ARGV[5])
if ARGV[10] ~= '' then
  redis.call('HSET', COMMAND .. id, 'collapse', ARGV[10])
end
redis.call('PEXPIRE', COMMAND .. id, most_kept)
-- Others that are listed may have expired, if they are older than those that have ended are
-- kept. Two are looked at for each that comes.
if last then
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
deadline(id, open)
if tonumber(ARGV[16]) > 0 then
  deadline('p' .. id, now + pace_step)
end
if ARGV[13] ~= '' then
  keep(KEYS[9], ARGV[13], id, most_kept)
end
return {ended, 'created'}
