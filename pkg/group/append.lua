-- Has messages wait for groups, for the scripts of pkg/publish/send. A message is counted
-- before it is appended: on a Redis Cluster these are two steps, in different slots. This is
-- the body of a function, so that a batch without such messages does not pay for it. It
-- returns functions. Go has put the names of keys before this (waiting.lua).
local DAY, LOOK = 86400000, 60000

-- groups are those of the batch; waits has of each message that waits for some the bytes, the
-- bucket, and the groups.
local groups, waits = {}, {}

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
  at = at + 1
  for _ = 1, n do
    local of = {}
    for g in string.gmatch(ARGV[at + 3], '%d+') do
      of[#of + 1] = groups[tonumber(g)]
    end
    waits[tonumber(ARGV[at])] = {bytes = tonumber(ARGV[at + 1]), bucket = ARGV[at + 2], groups = of}
    at = at + 4
  end
  return at
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
    local m = not limited[i] and waits[i]
    if m then
      for _, group in ipairs(m.groups) do
        full[i] = full[i] or not group.drops and group.taken + m.bytes > group.most or nil
      end
      for _, group in ipairs(full[i] and {} or m.groups) do
        group.taken = group.taken + m.bytes
      end
      count = count + (full[i] and 1 or 0)
    end
  end
  for _, group in ipairs(groups) do
    group.over = group.drops and math.max(0, group.taken - group.most) or 0
  end
  return full, count
end

-- bucket_of is what a group gets in the bucket of a message.
local function bucket_of(group, m)
  local b = group.buckets[m.bucket]
  if not b then
    b = {bytes = 0, freed = 0, first = nil}
    group.buckets[m.bucket] = b
  end
  return b
end

-- count counts what the groups got, if the counts lie where this runs.
local function count()
  for _, group in ipairs(groups[1] and groups[1].key and groups or {}) do
    local all = 0
    if group.dropped > 0 then
      redis.call('HINCRBY', group.key, 'overflow', group.dropped)
    end
    for bucket, b in pairs(group.buckets) do
      all = all + b.bytes - b.freed
      redis.call('HINCRBY', group.key, string.match(bucket, '%.(%d+)}'), b.bytes - b.freed)
    end
    if next(group.buckets) then
      redis.call('HINCRBY', group.key, 'all', all)
      redis.call('PEXPIRE', group.key, group.life + 2 * DAY)
    end
  end
end

-- take notes that a message is counted, and appended in another step.
local function take(i)
  local m = waits[i]
  for _, group in ipairs(m and m.groups or {}) do
    local b = bucket_of(group, m)
    b.bytes = b.bytes + m.bytes
  end
end

-- append has a message wait for its groups, if it does for any.
local function append(i, topic, message)
  local m = waits[i]
  if not m then
    return
  end
  local channel = string.match(topic, '^[^}]*}:(.*)$')
  for _, group in ipairs(m.groups) do
    local b = bucket_of(group, m)
    local id = redis.call('XADD', m.bucket .. STREAM .. group.name, '*', 'b', m.bytes, 'c', channel, 'm', message)
    b.first, b.bytes = b.first or id, b.bytes + m.bytes
  end
end

-- make_room drops the oldest messages of a bucket, as many bytes as it got, if the group takes
-- too much. Those that it just got stay.
local function make_room(group, bucket, b)
  local key, dropped = bucket .. STREAM .. group.name, 0
  local want = math.min(group.over, b.bytes)
  while b.freed < want do
    local entry = redis.call('XRANGE', key, '-', '(' .. b.first, 'COUNT', 1)[1]
    if not entry then
      break
    end
    for i = 1, #entry[2], 2 do
      b.freed = b.freed + (entry[2][i] == 'b' and tonumber(entry[2][i + 1]) or 0)
    end
    redis.call('XDEL', key, entry[1])
    dropped = dropped + 1
  end
  group.over = group.over - b.freed
  return dropped
end

-- look_at has a node look into a bucket. It returns what to append to 'w MS BUCKET', if Go has
-- to touch it.
local function look_at(bucket, id, ms, wait)
  local at = redis.call('ZSCORE', bucket .. DUE, id)
  -- A process may have died before its Touch: then the next one touches.
  if at and tonumber(at) > ms - LOOK then
    return nil
  end
  redis.call('ZADD', bucket .. DUE, ms + wait, id)
  return 'w ' .. wait .. ' ' .. bucket
end

-- save finishes what append began. extra gets what Go must do: 'w MS BUCKET', look into
-- the bucket; 'x N', so many messages made room; 'f GROUP TAG BYTES
-- N', take these off, of so many messages.
local function save(ms, extra)
  for g, group in ipairs(groups) do
    local wake = false
    for bucket, b in pairs(group.buckets) do
      local state = bucket .. STATE .. group.name
      local dropped = make_room(group, bucket, b)
      local own = redis.call('HINCRBY', state, 'bytes', b.bytes - b.freed)
      wake = redis.call('HDEL', state, 'idle') == 1 or own == b.bytes or wake
      if dropped > 0 then
        group.dropped = group.dropped + dropped
        extra[#extra + 1] = 'x ' .. dropped
        --cluster extra[#extra + 1] = string.format('f %d %s %d %d', g, string.match(bucket, '%.(%d+)}'), b.freed, dropped)
      end
      redis.call('PEXPIRE', bucket .. STREAM .. group.name, group.life + DAY)
      redis.call('PEXPIRE', state, group.life + DAY)
      extra[#extra + 1] = look_at(bucket, group.name, ms, math.min(group.life, LOOK))
      if group.over > 0 then
        extra[#extra + 1] = look_at(bucket, '*' .. group.name, ms, 1000)
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
