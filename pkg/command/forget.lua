-- Forgets commands that have ended. state.lua stands before this.
-- ARGV, behind those of all scripts: their ids
-- Returns {ended}.
for i = 3, #ARGV do
  local id = ARGV[i]
  local v = redis.call('HMGET', COMMAND .. id, 'status', 'channel')
  if v[1] and final[v[1]] then
    redis.call('DEL', COMMAND .. id, PEERS .. id, DUE .. id)
    redis.call('ZREM', LISTED .. v[2], id)
    deadline(id, 0)
  end
end
return {ended}
