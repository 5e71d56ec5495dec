-- Publish frames of many jobs in one step; one message per front door.
-- KEYS: job and ev per frame   ARGV: 1 maxlen, then (epoch, seq, front door, frame) per frame
-- -> one integer per frame: 1 published, -1 fenced (a newer claim owns the job)
local out, by_door, doors = {}, {}, {}
for i = 1, #KEYS / 2 do
  local a = 4 * i - 2
  local job, ep, seq, fd = KEYS[2 * i - 1], ARGV[a], ARGV[a + 1], ARGV[a + 2]
  if redis.call('HGET', job, 'ep') ~= ep then out[i] = -1
  else
    if seq == '1' then redis.call('HSET', job, 'st', 'streaming', 'sent', 1) end
    redis.pcall('XADD', KEYS[2 * i], 'MAXLEN', '~', ARGV[1], ep .. '-' .. seq, 'd', ARGV[a + 3])  -- a repeat fails: same id
    if fd ~= '' then
      if not by_door[fd] then by_door[fd] = {}; doors[#doors + 1] = fd end
      table.insert(by_door[fd], ARGV[a + 3])
    end
    out[i] = 1
  end
end
for _, fd in ipairs(doors) do redis.call('PUBLISH', 'fd:' .. fd, table.concat(by_door[fd])) end
return out
