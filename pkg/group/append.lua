-- Has messages wait for groups, for the scripts of pkg/publish/send. A message is counted
-- before it is appended: on a Redis Cluster these are two steps, in different slots. This is
-- the body of a function, so that a batch without such messages does not pay for it. It
-- returns functions. Go has put the names of keys before this (waiting.lua).
local DAY, LOOK = 86400000, 60000

-- groups are those of the batch. A target is what messages have in common that wait in the same
-- bucket for the same groups: their bytes, and the part of each group. waits has the target of
-- each message that waits.
local groups, targets, waits = {}, {}, {}
local name_at -- where channels begin in topics

-- part_of is what a group gets in a bucket.
local function part_of(group, bucket)
  local part = group.buckets[bucket]
  if not part then
    part = {group = group, stream = bucket .. STREAM .. group.name, bytes = 0, freed = 0, first = nil}
    group.buckets[bucket] = part
  end
  return part
end

-- read reads what Go's Batch.AppendArgs has put into ARGV from at on, of so many groups. It
-- returns where the next argument is.
local function read(at, count)
  for g = 1, count do
    groups[g] = {
      name = ARGV[at], most = tonumber(ARGV[at + 1]), drops = ARGV[at + 2] == '1', life = tonumber(ARGV[at + 3]),
      topic = ARGV[at + 4], over = tonumber(ARGV[at + 5]), buckets = {}, key = nil, taken = 0, dropped = 0,
    }
    at = at + 6
  end
  local n = tonumber(ARGV[at])
  for t = 1, n do
    local parts = {}
    for g in string.gmatch(ARGV[at + 3], '%d+') do
      parts[#parts + 1] = part_of(groups[tonumber(g)], ARGV[at + 1])
    end
    targets[t] = {bytes = tonumber(ARGV[at + 2]), text = ARGV[at + 2], parts = parts}
    at = at + 3
  end
  n = tonumber(ARGV[at + 1])
  for i = 1, n do
    waits[i] = targets[tonumber(ARGV[at + 1 + i])]
  end
  return at + 2 + n
end

-- find_full finds the messages that have no room. The counts of the groups are KEYS from
-- base on. It returns which they are, and how many.
local function find_full(n, limited, base)
  local full, count = {}, 0
  for g, group in ipairs(groups) do
    group.key = KEYS[base + g - 1]
    group.taken = tonumber(redis.call('HGET', group.key, 'all') or 0)
  end
  for i = 1, n do
    local target = not limited[i] and waits[i]
    if target then
      local parts, bytes = target.parts, target.bytes
      for p = 1, #parts do
        local group = parts[p].group
        full[i] = full[i] or not group.drops and group.taken + bytes > group.most or nil
      end
      for p = 1, full[i] and 0 or #parts do
        parts[p].group.taken = parts[p].group.taken + bytes
      end
      count = count + (full[i] and 1 or 0)
    end
  end
  for _, group in ipairs(groups) do
    group.over = group.drops and math.max(0, group.taken - group.most) or 0
  end
  return full, count
end

-- tag_of is what the counts of groups call a bucket.
local function tag_of(bucket)
  return string.sub(bucket, -5, -3)
end

-- count counts what the groups got, if the counts lie where this runs.
local function count()
  for _, group in ipairs(groups[1] and groups[1].key and groups or {}) do
    local tags, all = {'all'}, {0}
    if group.dropped > 0 then
      redis.call('HINCRBY', group.key, 'overflow', group.dropped)
    end
    for bucket, part in pairs(group.buckets) do
      if part.bytes > 0 then
        all[1] = all[1] + part.bytes - part.freed
        tags[#tags + 1], all[#all + 1] = tag_of(bucket), part.bytes - part.freed
      end
    end
    if #tags > 1 then
      local was, set = redis.call('HMGET', group.key, unpack(tags)), {}
      for i, tag in ipairs(tags) do
        set[2 * i - 1], set[2 * i] = tag, tonumber(was[i] or 0) + all[i]
      end
      redis.call('HSET', group.key, unpack(set))
      redis.call('PEXPIRE', group.key, group.life + 2 * DAY)
    end
  end
end

-- take notes that a message is counted, and appended in another step.
local function take(i)
  local target = waits[i]
  for _, part in ipairs(target and target.parts or {}) do
    part.bytes = part.bytes + target.bytes
  end
end

-- append has a message wait for its groups, if it does for any.
local function append(i, topic, message)
  local target = waits[i]
  if not target then
    return
  end
  -- The topics of an app's channels have the channel at the same place.
  name_at = name_at or string.find(topic, '}:', 1, true) + 2
  local channel, parts = string.sub(topic, name_at), target.parts
  for p = 1, #parts do
    local part = parts[p]
    local id = redis.call('XADD', part.stream, '*', 'b', target.text, 'c', channel, 'm', message)
    part.first, part.bytes = part.first or id, part.bytes + target.bytes
  end
end

-- make_room drops the oldest messages of a bucket, as many bytes as it got, if the group takes
-- too much. Those that it just got stay.
local function make_room(part)
  local group, dropped = part.group, 0
  local want = math.min(group.over, part.bytes)
  while part.freed < want do
    local entry = redis.call('XRANGE', part.stream, '-', '(' .. part.first, 'COUNT', 1)[1]
    if not entry then
      break
    end
    for i = 1, #entry[2], 2 do
      part.freed = part.freed + (entry[2][i] == 'b' and tonumber(entry[2][i + 1]) or 0)
    end
    redis.call('XDEL', part.stream, entry[1])
    dropped = dropped + 1
  end
  group.over = group.over - part.freed
  return dropped
end

-- look_at has a node look into a bucket, unless the look that is due there (ms) is to come. It
-- returns what to append to 'w MS BUCKET', if Go has to touch it.
local function look_at(bucket, id, at, ms, wait)
  -- A process may have died before its Touch: then the next one touches.
  if at and tonumber(at) > ms - LOOK then
    return nil
  end
  redis.call('ZADD', bucket .. DUE, ms + wait, id)
  return 'w ' .. wait .. ' ' .. bucket
end

-- settle writes what a bucket's keys say of what it got. It returns whether ingesters must
-- hear of it, and what look_at says.
local function settle(part, bucket, ms)
  local group, state = part.group, bucket .. STATE .. part.group.name
  local life = group.life
  local was = redis.call('HMGET', state, 'bytes', 'idle', 'due', 'life')
  local own = tonumber(was[1] or 0) + part.bytes - part.freed
  local idle = was[2] == '1'
  redis.call('HSET', state, 'bytes', own)
  if idle then
    redis.call('HDEL', state, 'idle')
  end
  -- A look, and a message that asks for one, has the keys live on for longer than messages live. So
  -- other messages need not.
  local due = tonumber(was[4] or 0) == life and was[3]
  local wait = math.min(life, LOOK)
  local look = look_at(bucket, group.name, due, ms, wait)
  if look then
    redis.call('HSET', state, 'due', ms + wait, 'life', life)
    redis.call('PEXPIRE', part.stream, life + DAY)
    redis.call('PEXPIRE', state, life + DAY)
  end
  return idle or own == part.bytes, look
end

-- save finishes what append began. extra gets what Go must do: 'w MS BUCKET', look into
-- the bucket; 'x N', so many messages made room; 'f GROUP TAG BYTES
-- N', take these off, of so many messages.
local function save(ms, extra)
  for g, group in ipairs(groups) do
    local wake = false
    for bucket, part in pairs(group.buckets) do
      if part.first then
        local dropped = make_room(part)
        local wakes, look = settle(part, bucket, ms)
        wake, extra[#extra + 1] = wake or wakes, look
        if dropped > 0 then
          group.dropped = group.dropped + dropped
          extra[#extra + 1] = 'x ' .. dropped
          --cluster extra[#extra + 1] = string.format('f %d %s %d %d', g, tag_of(bucket), part.freed, dropped)
        end
        if group.over > 0 then
          local id = '*' .. group.name
          extra[#extra + 1] = look_at(bucket, id, redis.call('ZSCORE', bucket .. DUE, id), ms, 1000)
        end
      end
    end
    if wake then
      redis.pcall('PUBLISH', group.topic, '') -- to all nodes
    end
  end
end

-- tell_over appends to extra 'o GROUP BYTES' of groups that take too much.
local function tell_over(extra)
  for g, group in ipairs(groups) do
    if group.over > 0 then
      extra[#extra + 1] = string.format('o %d %d', g, group.over)
    end
  end
end

return {read = read, find_full = find_full, take = take, append = append, save = save, count = count, tell_over = tell_over}
