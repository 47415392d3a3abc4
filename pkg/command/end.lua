-- Sees to what has fallen due of a command, and cancels it if asked to. It may run any
-- number of times. state.lua stands before this.
-- ARGV, behind those of all scripts: [3] id, [4] 'settle' or 'cancel', [5] with
-- 'cancel', what is published to the channel's nodes if somebody was handed it
-- Returns {ended, what, more, view}: what is 'ok', 'final' (it cannot be cancelled any
-- more) or 'not_found'; more is 1 if there is more to see to. There is a view with
-- 'cancel' alone.
local id = ARGV[3]
local c = command(id)
if not c then
  deadline(id, 0)
  return {ended, 'not_found', 0}
end
local what = 'ok'
if ARGV[4] == 'cancel' then
  if final[c.status] then
    what = 'final'
  else
    close(c)
    if finished(c) + pending(c) > 0 then
      redis.pcall('PUBLISH', TOPICS .. c.channel, ARGV[5])
      --cluster to_wildcards(TOPICS .. c.channel, ARGV[5])
    end
    finish(c, 'cancelled')
  end
end
save(c)
if ARGV[4] == 'settle' then
  return {ended, what, c.more and 1 or 0}
end
return {ended, what, c.more and 1 or 0, view(c)}
