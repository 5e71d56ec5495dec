-- One call per worker process and tick: heartbeat, leases, and the news for each job.
-- KEYS: 1 jobs:due  2 workers:alive   ARGV: 1 worker  2 lease ms, then (job id, epoch) per job
-- -> per job: ok | lost (another owns it) | cancel (client gone) | orphan (front door gone)
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local out, doors = {}, {}
for i = 3, #ARGV, 2 do
  local j = redis.call('HMGET', 'job:' .. ARGV[i], 'ep', 'wk', 'cx', 'fd')
  if j[1] ~= ARGV[i + 1] or j[2] ~= ARGV[1] then out[#out + 1] = 'lost'
  else
    redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[2]), ARGV[i])
    if j[3] == '1' then out[#out + 1] = 'cancel'
    elseif j[4] ~= '' then
      if doors[j[4]] == nil then doors[j[4]] = redis.call('EXISTS', 'fdhb:' .. j[4]) end
      out[#out + 1] = doors[j[4]] == 1 and 'ok' or 'orphan'
    else out[#out + 1] = 'ok' end
  end
end
return out
