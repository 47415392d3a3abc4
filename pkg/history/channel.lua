-- Functions that read what a channel remembers, and append to it, for scripts to begin with.
-- All keys of a channel lie in its bucket, and a script works on channels of one app. Go has
-- put the names of keys before this, without the bucket that they begin with:
--
--	LAST channel    the position: '\7EPOCH,OFFSET,AT,TTL\n' and behind it the newest message
--	                (pkg/envelope/remembered.go), if the channel has one message at most, or
--	                '\7EPOCH,OFFSET,AT,TTL,BYTES\n', and then BYTES are those of the list
--	LIST channel    the messages, oldest first, as LAST has one. The newest is the one
--	                with the offset in LAST, whatever they say themselves
--	INDEX           zset of the bucket's channels: when the oldest message expires, or
--	                earlier (ms); of a channel without messages, when its position does
--	BYTES           what the bucket's channels take
--	DUE             zset of the bucket's deadlines (pkg/deadline): 'ttl', messages expire;
--	                'bytes' and 'keys', the app may have too many of them; 'rules', the
--	                app's document has changed
--	IDS             zset of the idempotency keys of publishes, by when they were used (ms),
--	                each for IDS_LIFE ms; with more than MOST_IDS the app may have too many
--	CHANNEL_BYTES   what a channel counts that has no messages
--	POSITION_LIFE   how long a position outlives its messages (ms)
--
-- AT is when the newest message was published (ms), and never before the one before it.
-- TTL is for how long (s) the messages were kept when that was last written. By a longer one
-- they live longer, but for those that have expired by it. The first 8 characters of an EPOCH
-- stand for the generation of the server that it began on.
--
-- Publishing is made of this, so it makes few strings, and turns few numbers into text:
-- times are texts of the same length, and compared as such.
local DAY = 86400000

local now, clock, generation, asked, seed, most, width
local grown, touched, dropped, lives = {}, {}, 0, {}

-- shape makes the patterns that the value of LAST usually matches: of a channel that is on the same server as before,
-- and remembers as before, and has its one message, or some of several.
local function shape(life)
  local usual = '^\7(' .. generation .. '%w+,)(%d+),(%d+),' .. life.ttl
  life.one, life.several = usual .. '\n', usual .. ',([1-9]%d*)\n$'
end

-- ask_generation asks Redis for its generation. A server gets another when it starts, and
-- when it is promoted.
local function ask_generation()
  local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
  local run = type(server) == 'string' and string.match(server, 'run_id:(%x+)') or ''
  local id = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)') or ''
  generation, asked = string.sub(redis.sha1hex(run .. id), 1, 8), true
  for _, life in pairs(lives) do
    shape(life)
  end
end

-- setup takes what Go's AppendSetup has put into ARGV from i on, and returns where the next
-- argument is. ms is Redis's clock.
local function setup(i, ms)
  now, clock = ms, string.format('%d', ms)
  generation, seed, most, width = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if generation == '' then
    ask_generation()
  end
  return i + 4
end

-- life_of is about a TTL, a text in ms: how long messages live, and when Redis drops the
-- positions: a day later than it may, so that this is told to Redis once a day. It was for a
-- position that was written since, with the same TTL.
local function life_of(ttl)
  local life = lives[ttl]
  if not life then
    local ms = tonumber(ttl)
    local stays = ms + POSITION_LIFE
    local today = math.floor((now + stays) / DAY) * DAY
    life = {ms = ms, ends = today + 2 * DAY, since = string.format('%d', today - stays), ttl = string.format('%d', ms / 1000), tail = ''}
    life.head = ',' .. clock .. ',' .. life.ttl .. ','
    life.tail = ',' .. clock .. ',' .. life.ttl .. '\n'
    shape(life)
    lives[ttl] = life
  end
  return life
end

local function name_of(c)
  return string.sub(c.key, width + #LAST + 1)
end

local function bucket_of(c)
  return string.sub(c.key, 1, width)
end

-- list_at is LIST of the channel whose LAST is a key.
local function list_at(key)
  return string.sub(key, 1, width) .. LIST .. string.sub(key, width + #LAST + 1)
end

local function list_of(c)
  return list_at(c.key)
end

-- bytes_of is what a message takes, in steps: so most do not change the sum.
local function bytes_of(message)
  return 64 + #message - #message % 64
end

-- rounded is what bytes of a channel are accounted for with: up to a quarter more, so that a
-- list does not change the sum of its bucket with each message.
local function rounded(bytes)
  local step = 64
  while step * 16 < bytes do
    step = step * 4
  end
  return bytes + -bytes % step
end

local function at_of(message)
  return tonumber(string.match(message, '^\7%w+,%d+,(%d+)'))
end

-- drop_old drops messages of a list up to a time. It returns how many, their bytes, and
-- when the oldest was published that is left (nil: none is).
local function drop_old(list, cutoff)
  local gone, bytes = 0, 0
  while true do
    local some, old = redis.call('LRANGE', list, 0, 15), 0
    while some[old + 1] and at_of(some[old + 1]) <= cutoff do
      old = old + 1
      bytes = bytes + bytes_of(some[old])
    end
    if old > 0 then
      redis.call('LPOP', list, old)
      gone = gone + old
    end
    if old < #some then
      return gone, bytes, at_of(some[old + 1])
    elseif #some == 0 then
      return gone, bytes, nil
    end
  end
end

-- change_life goes over to another TTL. Messages that have expired by the one before are gone, though
-- by the new one they may not have.
local function change_life(c, before)
  local cutoff = now - before * 1000
  c.dirty, c.kept = true, false
  if cutoff <= now - c.life.ms then
    return
  elseif not c.message then
    local gone, bytes, oldest = drop_old(list_of(c), cutoff)
    c.expired, c.bytes = gone, oldest and c.bytes - bytes or 0
  elseif at_of(c.message) <= cutoff then
    c.expired, c.bytes, c.message = 1, 0, false
  end
end

-- begin_again begins a new epoch for what the channel has, if Redis is not the one on which
-- its epoch began: that may have lost messages that it had acknowledged.
local function begin_again(c)
  if not asked then
    ask_generation()
  end
  if string.sub(c.epoch, 1, 8) ~= generation then
    c.epoch, c.dirty = generation .. seed, true
    c.offset = c.message and 1 or math.min(redis.call('LLEN', list_of(c)), c.size)
  end
end

-- open reads a channel. key and value are those of LAST. Its bytes are those of its messages,
-- was is what they are accounted for with; kept: Redis keeps its keys for long enough;
-- expired, so many messages are found to be.
local function open(key, size, life, value)
  local epoch, offset, at, ttl, bytes, start
  if value then
    epoch, offset, at, ttl, bytes, start = string.match(value, '^\7(%w+),(%d+),(%d+),(%d+),?(%d*)\n()')
  end
  if not epoch then
    return {
      key = key, size = size, life = life, epoch = generation .. seed, offset = 0, at = clock, kept = false, bytes = 0, was = 0,
      message = false, start = false, pushed = false, dirty = true, fresh = true, expired = 0,
    }
  end
  local c = {
    key = key, size = size, life = life, epoch = epoch, offset = tonumber(offset), at = at, kept = at >= life.since, bytes = 0, was = 0,
    message = false, start = false, pushed = false, dirty = false, fresh = false, expired = 0,
  }
  if bytes == '' then
    c.message, c.start, c.bytes = value, start, bytes_of(value)
  else
    c.bytes = tonumber(bytes)
  end
  c.was = rounded(c.bytes)
  if ttl ~= life.ttl then
    change_life(c, tonumber(ttl))
  end
  if string.sub(epoch, 1, 8) ~= generation then
    begin_again(c)
  end
  return c
end

-- place_of is 'EPOCH,OFFSET', and tail_of what follows it.
local function place_of(c, offset)
  return c.epoch .. ',' .. string.format('%d', offset)
end

local function tail_of(c)
  if c.at > clock then -- Redis's clock was set back
    return ',' .. c.at .. ',' .. c.life.ttl .. '\n'
  end
  return c.life.tail
end

-- push has the channel remember a message that begins with its next place.
local function push(c, message)
  c.offset, c.dirty = c.offset + 1, true
  if c.at < clock then
    c.at = clock
  end
  if c.size > 1 then
    c.pushed = c.pushed or {c.message or nil}
    c.pushed[#c.pushed + 1], c.message = message, false
    return
  end
  if c.message then
    dropped = dropped + 1
  else
    redis.call('DEL', list_of(c))
  end
  c.message, c.start = message, false
end

local function touch(bucket, after)
  touched[#touched + 1] = math.max(0, after) .. ' ' .. bucket
end

-- listed puts a channel into the index that is not there, or with a later time. It says
-- whether it was not.
local function listed(bucket, c, at)
  local added = redis.call('ZADD', bucket .. INDEX, 'LT', at, name_of(c))
  local moved = redis.call('ZADD', bucket .. DUE, 'LT', 'CH', at, 'ttl') == 1
  local first = moved and at or tonumber(redis.call('ZSCORE', bucket .. DUE, 'ttl'))
  -- A process may have died before its Touch: then the next one touches.
  if moved or first < now - 60000 then
    touch(bucket, first - now)
  end
  return added == 1
end

-- extend appends messages to a list of so many bytes, and returns the bytes that it has then. kept: Redis keeps
-- it for long enough.
local function extend(list, bytes, messages, size, life, kept)
  local length = redis.call('RPUSH', list, unpack(messages))
  if length == #messages then
    bytes, kept = 0, false
  end
  for _, message in ipairs(messages) do
    bytes = bytes + bytes_of(message)
  end
  -- A few more than its size may be there: they are dropped together.
  if length > size + math.floor(size / 8) then
    for _, message in ipairs(redis.call('LPOP', list, length - size)) do
      bytes = bytes - bytes_of(message)
      dropped = dropped + 1
    end
  end
  if not kept then
    redis.call('PEXPIREAT', list, life.ends)
  end
  return bytes
end

-- save_list appends what was pushed, and returns the bytes of the list.
local function save_list(c)
  local list = list_of(c)
  if c.fresh then
    redis.call('DEL', list)
  end
  return extend(list, c.bytes, c.pushed, c.size, c.life, c.kept)
end

-- grow accounts for what a bucket's channels take more, or less.
local function grow(bucket, delta)
  grown[bucket] = (grown[bucket] or 0) + delta
end

-- save writes what has changed.
local function save(c)
  if not c.dirty then
    return
  end
  local value, bytes = c.message, c.bytes
  if not value then
    if c.pushed then
      bytes = save_list(c)
    end
    value = '\7' .. place_of(c, c.offset) .. ',' .. c.at .. ',' .. c.life.ttl .. ',' .. string.format('%d', bytes) .. '\n'
  elseif c.start then -- it was there before its epoch, or its TTL
    value = '\7' .. place_of(c, c.offset) .. ',' .. c.at .. ',' .. c.life.ttl .. '\n' .. string.sub(value, c.start)
    bytes = bytes_of(value)
  else
    bytes = bytes_of(value)
  end
  if c.kept then
    redis.call('SET', c.key, value, 'KEEPTTL')
  else
    redis.call('SET', c.key, value, 'PXAT', c.life.ends)
  end
  local total = rounded(bytes)
  if c.was == total and not c.fresh then
    return
  end
  local bucket = bucket_of(c)
  grow(bucket, total - c.was)
  if c.was == 0 and listed(bucket, c, bytes > 0 and now + c.life.ms or c.life.ends) then
    grow(bucket, CHANNEL_BYTES)
  end
end

-- clear drops all messages at once, and leaves the position.
local function clear(c)
  local bucket = bucket_of(c)
  redis.call('DEL', list_of(c))
  redis.call('SET', c.key, '\7' .. place_of(c, c.offset) .. ',' .. c.at .. ',' .. c.life.ttl .. ',0\n', 'PXAT', c.life.ends)
  redis.call('ZADD', bucket .. INDEX, c.life.ends, name_of(c))
  grow(bucket, -c.was)
end

-- account adds up what all buckets have grown by, once everything is saved.
local function account()
  for bucket, delta in pairs(grown) do
    if delta ~= 0 then
      local total = redis.call('INCRBY', bucket .. BYTES, delta)
      if delta > 0 and total > most and redis.call('ZADD', bucket .. DUE, 'NX', now + 1000, 'bytes') == 1 then
        touch(bucket, 1000)
      end
    end
  end
end

-- newest is the channel's newest message, unless it has expired or is forgotten.
local function newest(c)
  if tonumber(c.at) + c.life.ms <= now then
    return nil
  end
  return c.message or c.pushed and c.pushed[#c.pushed] or redis.call('LINDEX', list_of(c), -1) or nil
end
