-- End a job, once: its charge into the outbox, its last frame to the client, in one step.
-- KEYS: 1 job  2 req  3 jobs:due  4 ev  5 bill:out
-- ARGV: 1 job id  2 epoch  3 state (done|failed|cancelled)  4 charge  5 seq  6 frame  7 front door  8 keep ms
-- -> ok | fenced | already
local j = redis.call('HMGET', KEYS[1], 'ep', 'st')
if j[1] ~= ARGV[2] then return 'fenced' end
if j[2] == 'done' or j[2] == 'failed' or j[2] == 'cancelled' then return 'already' end
redis.call('XADD', KEYS[5], '*', 'c', ARGV[4])
redis.pcall('XADD', KEYS[4], ARGV[2] .. '-' .. ARGV[5], 'd', ARGV[6])
redis.call('HSET', KEYS[1], 'st', ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[2])
redis.call('PEXPIRE', KEYS[1], ARGV[8]); redis.call('PEXPIRE', KEYS[4], ARGV[8])
if ARGV[7] ~= '' then redis.call('PUBLISH', 'fd:' .. ARGV[7], ARGV[6]) end
return 'ok'
