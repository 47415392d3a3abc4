-- Ends a script of a Redis Cluster that comes too late, or to another node than its deadline was
-- reckoned for. The script stands behind this. It may use now, this node's clock in microseconds.
-- ARGV: [1] the deadline (microseconds since 1970), [2] the id of the node by whose clock
-- that is ('': it is not known)
-- Returns {1, now} if it comes too late, {2, now} if this is another node.
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
if ARGV[2] ~= '' then
  local id = redis.pcall('CLUSTER', 'MYID')
  if type(id) == 'string' and id ~= ARGV[2] then
    return {2, now}
  end
end
if now > tonumber(ARGV[1]) then
  return {1, now}
end
