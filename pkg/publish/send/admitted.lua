-- On a Redis Cluster, what is admitted is published in other slots (deliver.lua). This is the
-- body of the function send of publish.lua there: it says 0 of a message that is within its
-- rate and the cap, and counts it for the groups that it waits for. Behind all messages comes
-- 'o GROUP BYTES' for each group that takes too much. If all messages are within both, and
-- wait for no group, it adds nothing to reply, and its caller
-- takes that for all of them.
if room == n and not waiting then
  return 0, nil, false
end
for i = 1, n do
  local outcome = -2
  if full and full[i] then
    outcome = -6
  elseif not limited[i] then
    outcome = room > 0 and 0 or -1
    room = room - 1
    if waiting and outcome == 0 then
      waiting.take(i)
    end
  end
  reply[#reply + 1] = outcome
end
local extra = {}
if waiting then
  waiting.count()
  waiting.tell_over(extra)
end
return 0, extra, true
