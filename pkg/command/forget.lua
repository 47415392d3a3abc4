-- Forgets commands that have ended. state.lua stands before this.
-- ARGV, behind those of all scripts: their ids
-- Returns {ended}.
for i = 3, #ARGV do
  local id = ARGV[i]
  local fixed = redis.call('HGET', COMMAND .. id, 'fixed')
  if fixed then
    redis.call('UNLINK', COMMAND .. id, PEERS .. id, DUE .. id)
    redis.call('ZREM', LISTED .. fixed:match('\n([^\n]*)'), id)
    deadline(id, 0)
  end
end
return {ended}
