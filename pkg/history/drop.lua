-- Drops messages of channels of one bucket. deadline.lua and channel.lua stand before this.
-- KEYS[1] INDEX
-- ARGV: what setup takes; '' to drop what has expired, or until when what is dropped was
-- published (ms); 1 if positions of that time are dropped, too, of channels that have no
-- messages; then for each channel its name, its size (0: it remembers no more, and
-- everything is dropped) and its TTL (ms)
-- Returns the bytes of the bucket, and for each channel how many messages were dropped, how
-- many others because they were over its size, and when its oldest message was published;
-- without messages when the last was, negative; 0, the channel is gone.
local at = setup(1, due_time())
local bucket = string.sub(KEYS[1], 1, width)
local reply = {0}

local function forget(c, name)
  redis.call('DEL', c.key, list_of(c))
  redis.call('ZREM', KEYS[1], name)
  grow(bucket, -CHANNEL_BYTES - c.was)
end

-- drop_list drops messages of a list up to a time. It returns how many were dropped, the
-- bytes of the list, when its oldest message was published (nil: it is empty), and how many
-- others were over its size.
local function drop_list(c, cutoff)
  local list = list_of(c)
  local bytes, over = c.bytes, math.max(0, redis.call('LLEN', list) - c.size)
  if over > 0 then
    for _, message in ipairs(redis.call('LPOP', list, over)) do
      bytes = bytes - bytes_of(message)
    end
  end
  local gone, freed, oldest = drop_old(list, cutoff)
  return gone, oldest and bytes - freed or 0, oldest, over
end

-- drop drops messages of a channel up to a time.
local function drop(c, cutoff)
  if c.message then
    if at_of(c.message) > cutoff then
      return 0, c.bytes, at_of(c.message), 0
    end
    c.message = false
    return 1, 0, nil, 0
  end
  return drop_list(c, cutoff)
end

local function settle(name, size, ttl, cutoff, positions)
  local key = bucket .. LAST .. name
  local value = redis.call('GET', key)
  if not value then
    forget({key = key, was = 0}, name)
    return 0, 0, 0
  elseif size == 0 then
    local c = open(key, 1000, life_of('1'), value)
    local count = c.message and 1 or redis.call('LLEN', list_of(c))
    forget(c, name)
    return count, 0, 0
  end
  local c = open(key, size, life_of(ttl), value)
  local gone, bytes, oldest, over = drop(c, cutoff or now - c.life.ms)
  gone = gone + c.expired
  if not oldest and positions and tonumber(c.at) <= cutoff then
    forget(c, name)
    return gone, over, 0
  end
  c.kept = c.kept or not c.dirty
  c.bytes, c.dirty = bytes, c.dirty or bytes ~= c.bytes
  save(c)
  redis.call('ZADD', KEYS[1], oldest and oldest + c.life.ms or now + math.max(1000, redis.call('PTTL', key)), name)
  return gone, over, oldest or -tonumber(c.at)
end

local cutoff, positions = tonumber(ARGV[at]), ARGV[at + 1] == '1'
for i = at + 2, #ARGV, 3 do
  for _, number in ipairs({settle(ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], cutoff, positions)}) do
    reply[#reply + 1] = number
  end
end
account()
reply[1] = tonumber(redis.call('GET', bucket .. BYTES) or 0)
return reply
