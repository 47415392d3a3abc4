-- What a channel remembers, for scripts to begin with. All keys of a channel lie in its
-- bucket, and a script works on channels of one app:
--
--	LAST channel    the position: '\7EPOCH OFFSET AT DAY\n' and behind it the newest message
--	                (pkg/envelope/remembered.go), if the channel has one message at most, or
--	                '\7EPOCH OFFSET AT DAY BYTES\n', and then BYTES are those of the list
--	LIST channel    the messages, oldest first, as LAST has one. The newest is the one
--	                with the offset in LAST, whatever they say themselves
--	INDEX           zset of the bucket's channels: when the oldest message expires, or
--	                earlier (ms); of a channel without messages, when its position does
--	BYTES           what the bucket's channels take
--	DUE             zset of the bucket's deadlines: 'ttl', 'bytes', 'keys' (pkg/deadline)
--
-- AT is when the newest message was published (ms), and never before the one before it.
-- DAY is when Redis drops the position, in days since 1970. The first 8 characters of an
-- EPOCH stand for the generation of the server that it began on.
local DAY, POSITION_LIFE = 86400000, 30 * 86400000
local CHANNEL_BYTES = 200

local now, generation, asked, seed, most, width
local LAST, LIST, INDEX, BYTES, DUE, IDS
local grown, touched, dropped = {}, {}, 0

-- ask_generation asks Redis for its generation. A server gets another when it starts, and
-- when it is promoted.
local function ask_generation()
  local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
  local run = type(server) == 'string' and string.match(server, 'run_id:(%x+)') or ''
  local id = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)') or ''
  generation, asked = string.sub(redis.sha1hex(run .. id), 1, 8), true
end

-- setup takes what Go's Scope.setup has put behind ARGV[i - 1], and returns where the next
-- argument is. clock is Redis's clock in ms.
local function setup(i, clock)
  now, generation, seed, most, width = clock, ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  LAST, LIST, INDEX, BYTES, DUE, IDS = unpack(ARGV, i + 4, i + 9)
  if generation == '' then
    ask_generation()
  end
  return i + 10
end

local function list_of(c)
  return string.sub(c.key, 1, width) .. LIST .. string.sub(c.key, width + #LAST + 1)
end

-- bytes_of is what a message takes, in steps: so most do not change the sum.
local function bytes_of(message)
  return 64 + #message - #message % 64
end

local function place_of(message)
  local offset, at = string.match(message, '^\7%w+ (%d+) (%d+)')
  return tonumber(offset), tonumber(at)
end

-- open reads a channel. key and value are those of LAST, ttl is in ms.
local function open(key, size, ttl, value)
  local c = {key = key, size = size, ttl = ttl}
  local epoch, offset, at, day, bytes, start = string.match(value or '', '^\7(%w+) (%d+) (%d+) (%d+) ?(%d*)\n()')
  if epoch then
    c.epoch, c.offset, c.at, c.day = epoch, tonumber(offset), tonumber(at), tonumber(day)
    if start <= #value then
      c.message, c.start, c.bytes = value, start, bytes_of(value)
    else
      c.bytes = tonumber(bytes)
    end
    if string.sub(epoch, 1, 8) ~= generation then
      if not asked then
        ask_generation()
      end
      if string.sub(epoch, 1, 8) ~= generation then
        -- Redis may have lost messages that it had acknowledged. What is there begins anew.
        c.epoch, c.dirty = generation .. seed, true
        c.offset = c.message and 1 or math.min(redis.call('LLEN', list_of(c)), size)
      end
    end
    return c
  end
  c.epoch, c.offset, c.at, c.day, c.bytes, c.fresh, c.dirty = generation .. seed, 0, now, 0, 0, true, true
  return c
end

-- day_of is until when the channel's position is kept: for a day longer than it must be, so
-- that this is told to Redis once a day.
local function day_of(c)
  return math.floor((now + c.ttl + POSITION_LIFE) / DAY) + 2
end

-- compose makes the channel's next message of a record. push has the channel remember it.
local function compose(c, record)
  return '\7' .. c.epoch .. ' ' .. c.offset + 1 .. ' ' .. math.max(now, c.at) .. ' ' .. day_of(c) .. '\n' .. record
end

local function push(c, message)
  c.offset, c.at = c.offset + 1, math.max(now, c.at)
  if c.size == 1 then
    dropped = dropped + (c.message and 1 or 0)
    c.replaced = c.replaced or not c.message
    c.message, c.start = message, nil
  else
    c.pushed = c.pushed or {c.message}
    c.pushed[#c.pushed + 1] = message
    c.message = nil
  end
  c.dirty = true
end

local function touch(bucket, after)
  touched[#touched + 1] = math.max(0, after) .. ' ' .. bucket
end

-- listed puts a channel into the index that is not there, or with a later time.
local function listed(bucket, c, at)
  local added = redis.call('ZADD', bucket .. INDEX, 'LT', at, string.sub(c.key, width + #LAST + 1))
  -- A process may have died before its Touch: then the next one touches.
  if redis.call('ZADD', bucket .. DUE, 'LT', 'CH', at, 'ttl') == 1 or
    tonumber(redis.call('ZSCORE', bucket .. DUE, 'ttl')) < now - 60000 then
    touch(bucket, at - now)
  end
  return added == 1
end

-- save_list appends what was pushed, and returns the bytes of the list.
local function save_list(c, day)
  local list, bytes = list_of(c), 0
  if c.fresh then
    redis.call('DEL', list)
  end
  for _, message in ipairs(c.pushed) do
    bytes = bytes + bytes_of(message)
  end
  local length = redis.call('RPUSH', list, unpack(c.pushed))
  if length > #c.pushed then
    bytes = bytes + c.bytes
  end
  -- A few more than its size may be there: they are dropped together.
  if length > c.size + math.floor(c.size / 8) then
    for _, message in ipairs(redis.call('LPOP', list, length - c.size)) do
      bytes = bytes - bytes_of(message)
      dropped = dropped + 1
    end
  end
  if length == #c.pushed or day ~= c.day then
    redis.call('PEXPIREAT', list, day * DAY)
  end
  return bytes
end

-- save writes what has changed.
local function save(c)
  if not c.dirty then
    return
  end
  local bucket, day, bytes, value = string.sub(c.key, 1, width), day_of(c), c.bytes, nil
  if c.message then
    value = c.message
    if c.start then -- it was there before its epoch
      value = '\7' .. c.epoch .. ' ' .. c.offset .. ' ' .. c.at .. ' ' .. day .. '\n' .. string.sub(value, c.start)
    elseif c.replaced then
      redis.call('DEL', list_of(c))
    end
    bytes = bytes_of(value)
  else
    if c.cleared then
      bytes = 0
    elseif c.pushed then
      bytes = save_list(c, day)
    end
    value = '\7' .. c.epoch .. ' ' .. c.offset .. ' ' .. c.at .. ' ' .. day .. ' ' .. bytes .. '\n'
  end
  if day == c.day then
    redis.call('SET', c.key, value, 'KEEPTTL')
  else
    redis.call('SET', c.key, value, 'PXAT', day * DAY)
  end
  local delta = bytes - c.bytes
  if c.cleared then
    redis.call('ZADD', bucket .. INDEX, day * DAY, string.sub(c.key, width + #LAST + 1))
  elseif c.bytes == 0 and (bytes > 0 or c.fresh) and listed(bucket, c, bytes > 0 and now + c.ttl or day * DAY) then
    delta = delta + CHANNEL_BYTES
  end
  if delta ~= 0 then
    grown[bucket] = (grown[bucket] or 0) + delta
  end
end

-- account adds up what all buckets have grown by, once everything is saved.
local function account()
  for bucket, delta in pairs(grown) do
    local total = redis.call('INCRBY', bucket .. BYTES, delta)
    if delta > 0 and total > most and redis.call('ZADD', bucket .. DUE, 'NX', now + 1000, 'bytes') == 1 then
      touch(bucket, 1000)
    end
  end
end

-- newest is the channel's newest message, unless it has expired or is forgotten.
local function newest(c)
  if c.at + c.ttl <= now then
    return nil
  end
  return c.message or c.pushed and c.pushed[#c.pushed] or redis.call('LINDEX', list_of(c), -1) or nil
end

-- clear drops all messages, and leaves the position.
local function clear(c)
  redis.call('DEL', list_of(c))
  c.message, c.cleared, c.dirty = nil, c.bytes > 0, true
end
