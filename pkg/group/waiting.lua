-- Functions on the messages of one bucket that wait for one group, for scripts to begin
-- with. deadline.lua stands before this. The keys begin with the bucket, and end with the name
-- of the group:
--
--	STREAM   the messages: an entry has b, the bytes that it counts, c, its channel, m, the
--	         message as it was published and, if it was a dead letter, p, when that was (ms).
--	         Only scripts write entries, so the fields stand in this order
--	LEASES   zset of those that are delivered: ID:BYTES:ATTEMPT, until when (ms). So is
--	DELAYED  zset of those that a consumer has refused or given back, until when. ATTEMPT is
--	         how many deliveries count so far: 0 if the only one was given back. The parts are
--	         trusted as scripts write them; a client can only name what is there
--	STATE    hash: 'bytes', what STREAM and DEAD count; 'cursor', the last entry that was
--	         delivered for the first time; 'owner', the consumer that is served; 'idle',
--	         it has nothing new; 'drift', what a look has found (sweep.lua); 'due', when the
--	         next look is due (ms), and 'life', by which the keys expire
--	DEAD     stream of the dead letters: as in STREAM, with p, a, how often they were
--	         delivered, and r, the reason
--
-- These are KEYS in all scripts, in this order: STREAM, LEASES, DELAYED, STATE, DEAD and, of
-- pkg/deadline, DUE. A bucket is served to one consumer while any of its leases runs.
local DAY = 86400000

local now = due_time()
local freed, buried = 0, 0

local stream, leases, delayed, state, dead, due = unpack(KEYS)

-- fields_of tells the bytes, the channel, the message, and when a dead letter was published.
local function fields_of(entry)
  local f = entry[2]
  return f[2], f[4], f[6], f[8]
end

local function ms_of(id)
  return tonumber(string.match(id, '^%d+'))
end

-- entry_of is the entry with an id, or nil.
local function entry_of(key, id)
  return redis.call('XRANGE', key, id, id)[1]
end

local function parts_of(member)
  local id, bytes, attempt = string.match(member, '^(%d+%-%d+):(%d+):(%d+)$')
  return id, tonumber(bytes), tonumber(attempt)
end

-- forget deletes an entry, and says whether it was there.
local function forget(key, id, bytes)
  local gone = redis.call('XDEL', key, id) == 1
  freed = freed + (gone and bytes or 0)
  return gone
end

-- bury makes an entry a dead letter. Its bytes go on to count.
local function bury(entry, attempt, reason, life)
  local id, bytes, channel, message, published = entry[1], fields_of(entry)
  redis.call('XADD', dead, '*', 'b', bytes, 'c', channel, 'm', message,
    'p', published or string.match(id, '^%d+'), 'a', attempt, 'r', reason)
  redis.call('PEXPIRE', dead, life + DAY)
  redis.call('PEXPIRE', state, life + DAY)
  redis.call('XDEL', stream, id)
  buried = buried + 1
end

-- count_out takes what was freed off what the bucket counts, and returns it: Go takes it off
-- the group's count, which lies in another slot.
local function count_out()
  if freed > 0 then
    redis.call('HINCRBY', state, 'bytes', -freed)
  end
  return freed
end
