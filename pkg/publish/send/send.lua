-- Publishes messages some of which are remembered by their channels, have an idempotency
-- key or a condition. It touches keys of the channels' slots alone.
--
-- This is the body of the function send of publish.lua, behind channel.lua, idempotency.lua
-- and subscribers.lua, so that a batch without such messages does not pay for it:
--
--	send(at, base, n, limited, room, micros, reply) → how many messages do not count, and what comes behind them
--
-- KEYS from base on: LAST of each channel (channel.lua), then others that the messages name
-- ARGV from at on: what setup takes; how many channels, and of each its topic, size (0:
-- it does not remember) and TTL (ms); then the messages. Each is a topic and a
-- payload, or the number of a channel and a record; of one with a key or a
-- condition the number is negative, and there follow ifOffset ('': none) and
-- ifEpoch ('': any), a fingerprint ('': no key) and the number of the key in KEYS, the
-- number of the nodes' set in KEYS (0: subscribers are not counted), the channel, and
-- what the keys of the nodes' counts begin with.
-- limited: which are over their rate; room: how many the cap lets through.
-- It appends to reply for each message, if it is not -1 to -3 as in publish.lua: -4, its
-- key was used with another body; 'p,1,EPOCH,OFFSET', it was published ('p,0': to no
-- node); 's,SUBSCRIBERS,EPOCH,OFFSET', it was published, and had a key;
-- 'r,SUBSCRIBERS,EPOCH,OFFSET', it repeats one that was; 'm,EPOCH,OFFSET', the newest
-- message is another one. Of a channel that does not remember, EPOCH is '-' and OFFSET 0.
-- Behind all messages come: 'c I MESSAGE', the newest message
-- for an 'm'; 't MS BUCKET', nodes must look into the bucket (pkg/deadline); 'g
-- GENERATION' of the server; 'd N', so many made room for others.
at = setup(at, math.floor(micros / 1000))
local channels, count = {}, tonumber(ARGV[at])
local values = redis.call('MGET', unpack(KEYS, base, base + count - 1))
at = at + 1
for c = 1, count do
  local size = tonumber(ARGV[at + 1])
  local channel = {size = 0}
  if size > 0 then
    channel = open(KEYS[base + c - 1], size, life_of(ARGV[at + 2]), values[c])
  end
  channel.topic, channels[c] = ARGV[at], channel
  at = at + 3
end

local extra, uncounted = {}, 0

-- declined says why a message with a key or a condition is not published: its outcome, or nil.
local function declined(i, channel, at)
  if ARGV[at + 2] ~= '' then
    local known, was = repeated(KEYS[tonumber(ARGV[at + 3])], ARGV[at + 2])
    if known then
      return known == 'conflict' and -4 or 'r,' .. was
    end
  end
  if ARGV[at] ~= '' and (tonumber(ARGV[at]) ~= channel.offset or ARGV[at + 1] ~= '' and ARGV[at + 1] ~= channel.epoch) then
    local message = newest(channel)
    if message then
      extra[#extra + 1] = 'c ' .. i .. ' ' .. message
    end
    return 'm,' .. place_of(channel, channel.offset)
  end
end

-- remember_id remembers what became of a message with an idempotency key.
local function remember_id(at, subscribers, place)
  local key = KEYS[tonumber(ARGV[at + 3])]
  local bucket = string.sub(key, 1, width)
  keep(key, ARGV[at + 2], subscribers .. ',' .. place, IDS_LIFE)
  redis.call('ZREMRANGEBYSCORE', bucket .. IDS, '-inf', now - IDS_LIFE)
  redis.call('ZADD', bucket .. IDS, now, string.sub(key, width + 1))
  redis.call('PEXPIRE', bucket .. IDS, IDS_LIFE)
  if redis.call('ZCARD', bucket .. IDS) > MOST_IDS and redis.call('ZADD', bucket .. DUE, 'NX', now + 1000, 'keys') == 1 then
    touch(bucket, 1000)
  end
end

-- deliver publishes a message that nothing speaks against, and has it remembered.
local function deliver(channel, record, at)
  local message, place = record, '-,0'
  if channel.size > 0 then
    place = place_of(channel, channel.offset + 1)
    message = '\7' .. place .. tail_of(channel) .. '\n' .. record
  end
  local nodes = redis.pcall('PUBLISH', channel.topic, message)
  if type(nodes) ~= 'number' then
    return -3
  end
  --cluster to_wildcards(channel.topic, message)
  --cluster nodes = 1
  if channel.size > 0 then
    push(channel, message)
  end
  if at and ARGV[at + 2] ~= '' then
    local subscribers = 0
    if nodes > 0 and ARGV[at + 4] ~= '0' then
      subscribers = count_subscribers(KEYS[tonumber(ARGV[at + 4])], ARGV[at + 5], ARGV[at + 6])
    end
    remember_id(at, subscribers, place)
    return 's,' .. subscribers .. ',' .. place
  end
  return nodes > 0 and 'p,1,' .. place or 'p,0,' .. place
end

for i = 1, n do
  local c, outcome, asks = tonumber(ARGV[at]), nil, nil
  local channel = c and channels[math.abs(c)]
  if c and c < 0 then
    asks = at + 2
  end
  if limited[i] then
    outcome = -2
  elseif asks then
    outcome = declined(i, channel, asks)
    uncounted = uncounted + (outcome and 1 or 0)
  end
  if not outcome then
    --cluster room = over[i] and 0 or 1
    if room <= 0 then
      outcome = -1
    else
      room = room - 1
      if channel then
        outcome = deliver(channel, ARGV[at + 1], asks)
      else
        outcome = redis.pcall('PUBLISH', ARGV[at], ARGV[at + 1])
        outcome = type(outcome) == 'number' and outcome or -3
        --cluster to_wildcards(ARGV[at], ARGV[at + 1])
      end
      uncounted = uncounted + (outcome == -3 and 1 or 0)
    end
  end
  reply[#reply + 1] = outcome
  at = at + (asks and 9 or 2)
end

for _, channel in ipairs(channels) do
  if channel.size > 0 then
    save(channel)
  end
end
account()
for _, t in ipairs(touched) do
  extra[#extra + 1] = 't ' .. t
end
if asked then
  extra[#extra + 1] = 'g ' .. generation
end
if dropped > 0 then
  extra[#extra + 1] = 'd ' .. dropped
end
return uncounted, extra
