-- Add a process's counts to the current minute and hour, by Redis's clock: a closed one never changes any more.
-- ARGV: 1 minute's life ms  2 hour's life ms  3… field, count, field, count, …
-- -> OK
local seconds = tonumber(redis.call('TIME')[1])
local minute, hour = 'fig:m:' .. math.floor(seconds / 60), 'fig:h:' .. math.floor(seconds / 3600)
for i = 3, #ARGV, 2 do
  redis.call('HINCRBY', minute, ARGV[i], ARGV[i + 1])
  redis.call('HINCRBY', hour, ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', minute, ARGV[1])
redis.call('PEXPIRE', hour, ARGV[2])
return redis.status_reply('OK')
