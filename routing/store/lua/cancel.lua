-- The client is gone. A queued job ends here; a running one is let go of by its worker.
-- KEYS: 1 job  2 req  3 jobs:due  4 bill:out   ARGV: 1 job id  2 charge of a job that never ran  3 keep ms
-- -> ended | asked | <state>
local j = redis.call('HMGET', KEYS[1], 'st', 'wk', 'slots', 'paced')
if not j[1] then return 'gone' end
if j[1] == 'queued' then
  redis.call('HINCRBY', KEYS[1], 'ep', 1)
  redis.call('HSET', KEYS[1], 'st', 'cancelled', 'cx', 1)
  if j[3] then for who in string.gmatch(j[3], '[^\n]+') do redis.call('ZREM', who, ARGV[1]) end end
  if j[4] then
    local t = redis.call('TIME'); local us = t[1] * 1000000 + t[2]
    for rate, cost, since in string.gmatch(j[4], '(%S+) %d+ (%d+) (%d+)') do   -- it used none of what was estimated
      local at = math.max(tonumber(redis.call('GET', rate) or '0'), since + cost) - cost
      if at > us then redis.call('SET', rate, string.format('%.0f', at), 'PX', math.ceil((at - us) / 1000) + 60000) else redis.call('DEL', rate) end
    end
  end
  redis.call('XADD', KEYS[4], '*', 'c', ARGV[2])
  redis.call('ZREM', KEYS[3], ARGV[1]); redis.call('DEL', KEYS[2]); redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 'ended'
end
if j[1] ~= 'running' and j[1] ~= 'streaming' then return j[1] end
redis.call('HSET', KEYS[1], 'cx', 1)
redis.call('PUBLISH', 'wk:' .. j[2], ARGV[1])
return 'asked'
