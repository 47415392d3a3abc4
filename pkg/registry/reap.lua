-- Ends the connections that an identity has in a bucket, whose node is dead: one step
-- through the bucket.
-- KEYS: [1] hash peer -> its record, [2] zset peer -> when it is said to be offline,
-- [3] hash of wills (wills.lua), [4] zset peer -> when its will is due
-- ARGV: the identity, the cursor (0 to begin with), how many peers to look at, roughly,
-- the code and the reason, the grace in ms
-- Returns the cursor to go on with; '0': that was all.
local prefix, now = ARGV[1] .. ':', due_time()
local some = redis.call('EXISTS', KEYS[3]) == 1
local step = redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', ARGV[3])
for i = 1, #step[2], 2 do
  local value = step[2][i + 1]
  if string.find(value, prefix, 1, true) then
    local peer, r, kept = step[2][i], read_record(value), {}
    local all, will = 0, nil
    for holder in string.gmatch(r.holders, '[^,]+') do
      all = all + 1
      if string.sub(holder, 1, #prefix) ~= prefix then
        kept[#kept + 1] = holder
      elseif some then -- of those that end at once the last that has a will leaves it
        will = take_set(KEYS[3], holder) or will
      end
    end
    if #kept < all then
      r.holders, r.at, r.code, r.reason = table.concat(kept, ','), whole(now), ARGV[4], ARGV[5]
      write_record(KEYS[1], peer, r)
      if r.holders == '' then
        due_set(KEYS[2], peer, now + tonumber(ARGV[6]))
        if will then
          leave_will(KEYS[3], KEYS[4], peer, r, will, now, tonumber(ARGV[6]))
        end
      end
    end
  end
end
return step[1]
