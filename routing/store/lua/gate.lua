-- May an endpoint be called? When its pause is over, one caller in the whole fleet gets the probe, on a lease.
-- Rates are counted by one moment each: when all that was let through would be done at exactly the allowed rate.
-- Calls at once that the catalog allows are counted one by one, each on a lease; a learnt limit is shared out.
-- KEYS: 1 breaker  2 learnt limit  3 users  4 rate  5 calls at once
-- ARGV: 1 token  2 probe lease ms  3 process  4 its calls in flight  5 calls at once allowed (0: any)
--       6 us one request takes of its rate (0: no rate)  7 the same for its tokens  8 burst us
--       9 how long a process counts as a user, ms  10 ms to wait where there are too many at once
--       11 lease of a call, ms  12 longest wait while a probe is out, ms
--       13 1: call it although it is out of order
-- -> {go|probe|open|parked|full, ms to wait, learnt limit or 0, processes using it}
local t = redis.call('TIME'); local us = t[1] * 1000000 + t[2]; local now = math.floor(us / 1000)
local s = redis.call('HMGET', KEYS[1], 'st', 'until', 'was')
local was = s[1] == 'half' and s[3] or s[1]                           -- why it is not called, also while a probe is out
local paused = s[1] and now < tonumber(s[2])
if paused and (ARGV[13] ~= '1' or was == 'parked') then
  local left = tonumber(s[2]) - now
  if s[1] == 'half' then left = math.min(left, tonumber(ARGV[12])) end -- the probe's answer comes any moment
  return {was == 'parked' and 'parked' or 'open', left, '0', 1}
end
redis.call('ZADD', KEYS[3], now, ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - tonumber(ARGV[9]))
redis.call('PEXPIRE', KEYS[3], 2 * tonumber(ARGV[9]))
local users = redis.call('ZCARD', KEYS[3])
local learnt = redis.call('HGET', KEYS[2], 'limit') or '0'
local limit, allowed = tonumber(learnt), tonumber(ARGV[5])
if allowed > 0 then                                                   -- probes too: who hangs is still there
  redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now)
  if not redis.call('ZSCORE', KEYS[5], ARGV[1]) and redis.call('ZCARD', KEYS[5]) >= allowed then
    return {'full', tonumber(ARGV[10]), learnt, users}
  end
end
if not s[1] and limit > 0 and tonumber(ARGV[4]) >= math.ceil(limit / users) then
  return {'full', tonumber(ARGV[10]), learnt, users}
end
local costs, wait, last = {r = tonumber(ARGV[6]), t = tonumber(ARGV[7])}, 0, 0
local done = {}
for what, cost in pairs(costs) do
  if cost > 0 then
    local from = math.max(us, tonumber(redis.call('HGET', KEYS[4], what) or '0'))
    wait = math.max(wait, from - us - math.max(0, tonumber(ARGV[8]) - cost))
    done[what] = from + cost
  end
end
if wait > 0 then return {'parked', math.ceil(wait / 1000), learnt, users} end
for what, moment in pairs(done) do
  redis.call('HSET', KEYS[4], what, string.format('%.0f', moment)); last = math.max(last, moment)
end
if last > 0 then redis.call('PEXPIRE', KEYS[4], math.ceil((last - us) / 1000) + 60000) end
if allowed > 0 then
  redis.call('ZADD', KEYS[5], string.format('%.0f', now + tonumber(ARGV[11])), ARGV[1])
  redis.call('PEXPIRE', KEYS[5], ARGV[11])
end
if not s[1] or paused then return {'go', 0, learnt, users} end
redis.call('HSET', KEYS[1], 'st', 'half', 'was', was or 'open', 'probe', ARGV[1], 'until', string.format('%.0f', now + tonumber(ARGV[2])))
return {'probe', 0, learnt, users}
