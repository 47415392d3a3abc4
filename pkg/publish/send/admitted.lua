-- On a Redis Cluster, what is admitted is published in other slots (deliver.lua). This is the
-- body of the function send of publish.lua there: it says 0 of a message that is within its
-- rate and the cap.
for i = 1, n do
  local outcome = -2
  if not limited[i] then
    outcome = room > 0 and 0 or -1
    room = room - 1
  end
  reply[#reply + 1] = outcome
end
return 0, nil
