-- Lets members of one node in and out of channels of one bucket, and announces
-- what that changes over all nodes, in the same step, so that the order of
-- announcements is the order of changes.
-- KEYS: [1] the set of the node's channels in the bucket, then for each channel its hash,
--   the sorted set of its peers' ids, all with score 0, and a hash of those peers that are on
--   several nodes: the one on which they joined last
-- ARGV: the node, what the topics of announcements begin with, before the channel's name, the
--   incarnation of channels that begin with this, then for each channel
--   its name, whether the node now has members there (+), has none (-) or nothing changes in that (=),
--   the number of changes, and for each of them three: + or -, the peer, its metadata;
--   instead of a number, *, and a cursor of HSCAN, 0 to begin with: of the node's members behind it some
--   leave. That is for one channel alone, and the node has none there if this step has looked at them all.
-- Returns for each channel its version ('' if it is empty).
-- With *, then: the cursor to go on with, or that this step has looked at all members ('whole'), or was the
-- last of several that have ('end').
--
-- A hash has the channel's version in the field '' and for each peer the nodes it
-- is on, separated by commas in the order in which it joined on them, a newline, and its
-- metadata. A node on which the peer joins again comes last; that is not announced.
local node, topics = ARGV[1], ARGV[2]
local most = 1000 -- fields of one command: Lua's stack is bounded
local scanned, leave = 16, 100 -- with *: members to look at, roughly, and to let leave at most
local reply = {}
local a = 4

-- without takes this node out of a list of nodes; nil if it is not in there.
local function without(nodes)
  local list = ',' .. nodes .. ','
  local from, to = list:find(',' .. node .. ',', 1, true)
  if not from then
    return nil
  end
  return (list:sub(1, from) .. list:sub(to + 1)):sub(2, -2)
end

local function call(command, key, fields)
  for i = 1, #fields, most do
    redis.call(command, key, unpack(fields, i, math.min(i + most - 1, #fields)))
  end
end

for c = 2, #KEYS, 3 do
  local key, index, last = KEYS[c], KEYS[c + 1], KEYS[c + 2]
  local name, has, n = ARGV[a], ARGV[a + 1], ARGV[a + 2]
  a = a + 3

  -- The changes asked for, peer by peer; metadata false: it leaves.
  local peers, metadata, values, version, cursor = {}, {}, {}, false, nil
  if n == '*' then
    local step = redis.call('HSCAN', key, ARGV[a], 'COUNT', scanned)
    version = redis.call('HGET', key, '')
    local all = step[2]
    cursor = step[1]
    if cursor == '0' then
      cursor = ARGV[a] == '0' and 'whole' or 'end'
    end
    for i = 1, #all, 2 do
      if all[i] ~= '' and without(all[i + 1]:match('^[^\n]*')) then
        if #peers == leave then
          cursor = ARGV[a] -- once more
          break
        end
        peers[#peers + 1], metadata[#metadata + 1], values[#values + 1] = all[i], false, all[i + 1]
      end
    end
    has = cursor == 'whole' and '-' or '='
    a = a + 1
  else
    local fields = {''}
    for i = 1, tonumber(n) do
      peers[i], fields[i + 1] = ARGV[a + 1], ARGV[a + 1]
      metadata[i] = ARGV[a] == '+' and ARGV[a + 2]
      a = a + 3
    end
    values = redis.call('HMGET', key, unpack(fields))
    version = table.remove(values, 1)
  end

  local set, removed, added, lines, ordered, alone = {}, {}, {}, {}, {}, {}
  for i, peer in ipairs(peers) do
    local nodes, was = '', nil
    if values[i] then
      local at = values[i]:find('\n', 1, true)
      nodes, was = values[i]:sub(1, at - 1), values[i]:sub(at + 1)
    end
    local others = without(nodes)
    if metadata[i] then
      local before = nodes
      others = others or nodes
      nodes = (others == '' and node) or (others .. ',' .. node)
      if nodes ~= before or was ~= metadata[i] then
        set[#set + 1], set[#set + 2] = peer, nodes .. '\n' .. metadata[i]
      end
      if others ~= '' then
        ordered[#ordered + 1], ordered[#ordered + 2] = peer, node
      end
      if not was then
        added[#added + 1], added[#added + 2] = '0', peer
      end
      if was ~= metadata[i] then
        lines[#lines + 1] = (was and '~' or '+') .. peer .. '\t' .. metadata[i] .. '\n'
      end
    elseif others == '' then
      removed[#removed + 1] = peer
      lines[#lines + 1] = '-' .. peer .. '\t' .. was .. '\n'
    elseif others then
      set[#set + 1], set[#set + 2] = peer, others .. '\n' .. was
      local behind = others:match(',([^,]*)$')
      if behind then
        ordered[#ordered + 1], ordered[#ordered + 2] = peer, behind
      else
        alone[#alone + 1] = peer
      end
    end
  end

  local announcement
  if #lines > 0 then
    if version then
      local at = version:find(':', 1, true)
      version = version:sub(1, at) .. string.format('%.0f', tonumber(version:sub(at + 1)) + 1)
    else
      version = ARGV[3] .. ':1'
    end
    announcement = version .. '\n' .. table.concat(lines)
    set[#set + 1], set[#set + 2] = '', version
  end
  if #removed > 0 and #set == 2 and redis.call('HLEN', key) == #removed + 1 then
    redis.call('DEL', key, index, last) -- only the version would be left
    version = false
  else
    call('HDEL', key, removed)
    call('ZREM', index, removed)
    call('HSET', key, set)
    call('ZADD', index, added)
    call('HSET', last, ordered)
    call('HDEL', last, alone)
  end
  if has == '+' then
    redis.call('SADD', KEYS[1], name)
  elseif has == '-' then
    redis.call('SREM', KEYS[1], name)
  end
  if announcement then
    redis.call('PUBLISH', topics .. name, announcement)
    --cluster to_wildcards(topics .. name, announcement)
  end
  reply[#reply + 1] = version or ''
  reply[#reply + 1] = cursor -- or nothing
end
return reply
