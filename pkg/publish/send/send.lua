-- Publishes messages some of which are remembered by their channels, have an idempotency
-- key or a condition. It touches keys of the channels' slots alone.
--
-- This is the body of the function send of publish.lua, behind channel.lua, idempotency.lua
-- and subscribers.lua, so that a batch without such messages does not pay for it:
--
--	send(at, base, n, limited, room, micros, reply, waiting, full) → how many messages do not count, what comes behind them, and whether some outcome is no number of nodes
--
-- KEYS from base on: LAST of each channel (channel.lua), then others that the messages name
-- ARGV from at on: what setup takes; how many groups of channels, and of each how many
-- channels, their size (0: they do not remember), their TTL (ms), and their topics; then the messages. Each is a topic and a
-- payload, or the number of a channel and a record; of one with a key or a
-- condition the number is negative, and there follow ifOffset ('': none) and
-- ifEpoch ('': any), a fingerprint ('': no key) and the number of the key in KEYS, the
-- number of the nodes' set in KEYS (0: subscribers are not counted), the channel, and
-- what the keys of the nodes' counts begin with.
-- limited: which are over their rate; room: how many the cap lets through; waiting: what
-- has messages wait for groups (pkg/group/append.lua), or nil; full: which have no room there.
-- It appends to reply for each message, if it is not -1 to -3 or -6 as in publish.lua: -4, its
-- key was used with another body; 'EPOCH,OFFSET', it was published; 'p,0,EPOCH,OFFSET', to no
-- node; 's,SUBSCRIBERS,EPOCH,OFFSET', it was published, and had a key;
-- 'r,SUBSCRIBERS,EPOCH,OFFSET', it repeats one that was; 'm,EPOCH,OFFSET', the newest
-- message is another one. Of a channel that does not remember, EPOCH is '-' and OFFSET 0.
-- Behind all messages come: 'c I MESSAGE', the newest message
-- for an 'm'; 't MS BUCKET', nodes must look into the bucket (pkg/deadline); 'g
-- GENERATION' of the server; 'd N', so many made room for others; what waiting.save says.
at = setup(at, math.floor(micros / 1000))
local topics, sizes, rules, count = {}, {}, {}, 0
local groups = tonumber(ARGV[at])
at = at + 1
for _ = 1, groups do
  local size, life = tonumber(ARGV[at + 1]), ARGV[at + 2]
  life = size > 0 and life_of(life)
  for i = at + 3, at + 2 + ARGV[at] do
    count = count + 1
    topics[count], sizes[count], rules[count] = ARGV[i], size, life
  end
  at = at + 3 + ARGV[at]
end
local values, opened = count > 0 and redis.call('MGET', unpack(KEYS, base, base + count - 1)), {}

-- Most channels are as they were when their last message came, and get one message. They are
-- not opened: that would cost more than all the rest. Of those that have got messages: what LAST
-- was before; of those that remember several, what is pushed, where they are, and the bytes of their lists before.
local were, changed, pushed, epochs, offsets, sums = {}, {}, {}, {}, {}, {}

-- quick publishes a message in such a channel, and returns its outcome; nil: the channel is another one.
local function quick(i, c, record)
  local value, size, life = values[c], sizes[c], rules[c]
  if not value or size == 0 or opened[c] then
    return nil
  end
  local epoch, offset, when, sum = epochs[c], offsets[c], clock, nil
  if not epoch then
    epoch, offset, when, sum = string.match(value, size == 1 and life.one or life.several)
    if not epoch or when > clock or when < life.since then
      return nil
    end
  end
  offset = offset + 1
  local place = epoch .. string.format('%d', offset)
  local message = '\7' .. place .. life.tail .. record
  local nodes = redis.pcall('PUBLISH', topics[c], message)
  if type(nodes) ~= 'number' then
    return -3
  end
  --cluster to_wildcards(topics[c], message)
  --cluster nodes = 1
  if waiting then
    waiting.append(i, topics[c], message)
  end
  if not were[c] then
    were[c], changed[#changed + 1] = value, c
  end
  if size == 1 then
    values[c], dropped = message, dropped + 1
  elseif pushed[c] then
    offsets[c], pushed[c][#pushed[c] + 1] = offset, message
  else
    epochs[c], offsets[c], sums[c], pushed[c] = epoch, offset, tonumber(sum), {message}
  end
  return nodes > 0 and place or 'p,0,' .. place
end

-- write writes what quick has done to a channel.
local function write(c)
  local key, value, before, after = KEYS[base + c - 1], values[c], 0, 0
  if pushed[c] then
    local life = rules[c]
    before = sums[c]
    after = extend(list_at(key), before, pushed[c], sizes[c], life, true)
    value = '\7' .. epochs[c] .. string.format('%d', offsets[c]) .. life.head .. string.format('%d', after) .. '\n'
  elseif #value ~= #were[c] then
    before, after = bytes_of(were[c]), bytes_of(value)
  end
  redis.call('SET', key, value, 'KEEPTTL')
  if before ~= after and rounded(before) ~= rounded(after) then
    grow(string.sub(key, 1, width), rounded(after) - rounded(before))
  end
  were[c], pushed[c], epochs[c] = nil, nil, nil
end

-- channel_of is a channel that is opened, as it is by now.
local function channel_of(c)
  local channel = opened[c]
  if channel then
    return channel
  end
  channel = {size = 0}
  if sizes[c] > 0 then
    local key = KEYS[base + c - 1]
    if were[c] then
      write(c)
      values[c] = redis.call('GET', key)
    end
    channel = open(key, sizes[c], rules[c], values[c])
  end
  channel.topic, opened[c] = topics[c], channel
  return channel
end

local extra, uncounted, itemized = {}, 0, false

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
local function deliver(i, channel, record, at)
  local message, place = record, '-,0'
  if channel.size > 0 then
    place = place_of(channel, channel.offset + 1)
    message = '\7' .. place .. tail_of(channel) .. record
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
  if waiting then
    waiting.append(i, channel.topic, message)
  end
  if at and ARGV[at + 2] ~= '' then
    local subscribers = 0
    if nodes > 0 and ARGV[at + 4] ~= '0' then
      subscribers = count_subscribers(KEYS[tonumber(ARGV[at + 4])], ARGV[at + 5], ARGV[at + 6])
    end
    remember_id(at, subscribers, place)
    return 's,' .. subscribers .. ',' .. place
  end
  if nodes == 0 or channel.size == 0 then
    return 'p,' .. math.min(nodes, 1) .. ',' .. place
  end
  return place
end

for i = 1, n do
  local c, outcome, asks = tonumber(ARGV[at]), nil, nil
  if c and c < 0 then
    c, asks = -c, at + 2
  end
  if limited[i] then
    outcome = -2
  elseif asks then
    outcome = declined(i, channel_of(c), asks)
    uncounted = uncounted + (outcome and not (full and full[i]) and 1 or 0)
  end
  if not outcome and full and full[i] then
    outcome = -6
  elseif not outcome then
    --cluster room = over[i] and 0 or 1
    if room <= 0 then
      outcome = -1
    else
      room = room - 1
      if c then
        outcome = not asks and quick(i, c, ARGV[at + 1]) or deliver(i, channel_of(c), ARGV[at + 1], asks)
      else
        outcome = redis.pcall('PUBLISH', ARGV[at], ARGV[at + 1])
        outcome = type(outcome) == 'number' and outcome or -3
        --cluster to_wildcards(ARGV[at], ARGV[at + 1])
        if waiting and outcome ~= -3 then
          waiting.append(i, ARGV[at], ARGV[at + 1])
        end
      end
      uncounted = uncounted + (outcome == -3 and 1 or 0)
    end
  end
  reply[#reply + 1] = outcome
  itemized = itemized or c or outcome < 0
  at = at + (asks and 9 or 2)
end

for _, c in ipairs(changed) do
  if were[c] then
    write(c)
  end
end
for _, channel in pairs(opened) do
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
if waiting then
  waiting.save(now, extra)
  waiting.count()
end
return uncounted, extra, itemized
