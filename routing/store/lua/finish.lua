-- End a job, once: its charge into the outbox, its last frame to the client, in one step.
-- KEYS: 1 job  2 req  3 jobs:due  4 ev  5 bill:out
-- ARGV: 1 job id  2 epoch  3 state (done|failed|cancelled)  4 charge  5 seq  6 frame  7 front door  8 keep ms
--       9 tokens it used ('' = none)
-- -> ok | fenced | already
local j = redis.call('HMGET', KEYS[1], 'ep', 'st', 'slots', 'paced')
if j[1] ~= ARGV[2] then return 'fenced' end
if j[2] == 'done' or j[2] == 'failed' or j[2] == 'cancelled' then return 'already' end
redis.call('XADD', KEYS[5], '*', 'c', ARGV[4])
redis.pcall('XADD', KEYS[4], ARGV[2] .. '-' .. ARGV[5], 'd', ARGV[6])
redis.call('HSET', KEYS[1], 'st', ARGV[3])
if j[3] then for who in string.gmatch(j[3], '[^\n]+') do redis.call('ZREM', who, ARGV[1]) end end
if j[4] then
  local t = redis.call('TIME'); local us = t[1] * 1000000 + t[2]
  local used = tonumber(ARGV[9] == '' and '0' or ARGV[9])
  for rate, minute, cost, since in string.gmatch(j[4], '(%S+) (%d+) (%d+) (%d+)') do  -- what was estimated becomes what was used
    -- Never from before its admission: what has drained away, or is forgotten, since then was not spare.
    local at = math.max(tonumber(redis.call('GET', rate) or '0'), since + cost) - cost + math.ceil(60000000 * used / minute)
    if at > us then redis.call('SET', rate, string.format('%.0f', at), 'PX', math.ceil((at - us) / 1000) + 60000) else redis.call('DEL', rate) end
  end
end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[2])
redis.call('PEXPIRE', KEYS[1], ARGV[8]); redis.call('PEXPIRE', KEYS[4], ARGV[8])
if ARGV[7] ~= '' then redis.call('PUBLISH', 'fd:' .. ARGV[7], ARGV[6]) end
return 'ok'
