-- Ring the doorbell of a job nobody has claimed. Each ring waits twice as long as the one before.
-- KEYS: 1 job  2 jobs:due  3 queue   ARGV: 1 job id  2 epoch  3 queue timeout ms  4 envelope  5 most doublings
-- -> ok | fenced | <state>
local j = redis.call('HMGET', KEYS[1], 'ep', 'st', 'rings')
if j[1] ~= ARGV[2] then return 'fenced' end
if j[2] ~= 'queued' then return j[2] end
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HINCRBY', KEYS[1], 'rings', 1)
redis.call('ZADD', KEYS[2], now + tonumber(ARGV[3]) * 2 ^ math.min(tonumber(j[3]), tonumber(ARGV[5])), ARGV[1])
redis.call('LPUSH', KEYS[3], ARGV[4])
return 'ok'
