-- Reads what became of commands of one bucket at a peer. state.lua stands before this.
-- ARGV, behind those of all scripts: [3] peer, [4] bytes, then the commands' ids
-- Returns {ended, then five for each: the fields fixed, state and payload, the peer's record, and
-- its late answer ('': none)}. The first is '' if the command, or the record, is not there. Those
-- for which there are not enough bytes are left out, but for the first.
local reply, size, peer = {ended}, 0, ARGV[3]
for i = 5, #ARGV do
  local c = command(ARGV[i], '@' .. peer)
  local n, record = #reply, c and get(c, peer)
  if record then
    save(c)
    local more = redis.call('HMGET', COMMAND .. c.id, 'payload', '!' .. peer)
    size = size + #more[1] + #record + #(more[2] or '')
    if size > tonumber(ARGV[4]) and i > 5 then
      break
    end
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5] = c.fixed, c.text, more[1], get(c, peer), more[2] or ''
  else
    reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4], reply[n + 5] = '', '', '', '', ''
  end
end
save_all()
return reply
