-- What is due in a bucket, for scripts to begin with. key is what rediskeys.Bucket.Due
-- names, and lies in the slot of the script. Times are in ms since 1970.

-- due_micros is Redis's clock, in µs since 1970; due_time the same in ms.
local function due_micros()
  local t = redis.call('TIME')
  return t[1] * 1000000 + t[2]
end
local function due_time() return math.floor(due_micros() / 1000) end

-- due_set sets or moves the deadline of id. A Touch goes before the script.
local function due_set(key, id, at)
  redis.call('ZADD', key, at, id)
end

-- due_clear drops the deadline of id, if it has one.
local function due_clear(key, id)
  redis.call('ZREM', key, id)
end

-- due_passed says whether id has a deadline that is over.
local function due_passed(key, id, now)
  local at = redis.call('ZSCORE', key, id)
  return at and tonumber(at) <= now
end

-- due_touch has nodes look there in so many ms: a Touch, for a script that can reach the index.
local function due_touch(index, touched, member, now, after)
  redis.call('ZADD', index, 'LT', now + math.floor(after), member)
  redis.call('ZADD', touched, now, member)
end
