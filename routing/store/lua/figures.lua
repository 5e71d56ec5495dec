-- Add a process's counts to the current minute and hour, by Redis's clock: a closed one never changes any more.
-- A batch that is sent again because its answer was lost is counted once: its mark outlives all tries.
-- An hour's histograms (L…, T…) are kept apart: only the ledger wants them, and they are most of it.
-- KEYS: 1 mark of the batch
-- ARGV: 1 minute's life ms  2 hour's life ms  3 mark's life ms  4… field, count, field, count, …
-- -> OK
if not redis.call('SET', KEYS[1], '1', 'NX', 'PX', ARGV[3]) then return redis.status_reply('OK') end
local seconds = tonumber(redis.call('TIME')[1])
local number = math.floor(seconds / 3600)
local minute, hour, values = 'fig:m:' .. math.floor(seconds / 60), 'fig:h:' .. number, 'fig:v:' .. number
for i = 4, #ARGV, 2 do
  redis.call('HINCRBY', minute, ARGV[i], ARGV[i + 1])
  redis.call('HINCRBY', string.find(ARGV[i], '|[LT][^|]*$') and values or hour, ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', minute, ARGV[1])
redis.call('PEXPIRE', hour, ARGV[2])
redis.call('PEXPIRE', values, ARGV[2])
return redis.status_reply('OK')
