-- Let a request in: idempotency, limits, budgets, job record, doorbell. All or nothing.
-- KEYS: 1 job  2 req  3 jobs:due  4 hold  5 holds:due  6 queue  7 idem  then one per limit, then one per budget
-- ARGV: 1 job id  2 hold (nano)  3 hold ttl ms  4 queue timeout ms  5 job ttl ms  6 front door  7 spec  8 request
--       9 doorbell envelope  10 fingerprint ('' = no idempotency key)  11 deadline ms from now  12 pool
--       13 streamed (0|1)  14 number of limits, then (max, ttl ms) per limit, then one scope per budget
--       last: latest ms at which the caller still waits ('' = always)
-- -> OK | EXISTS | CONFLICT id | REPLAY id | LIMIT i pttl | LOAD i | PAY i avail held | LATE now
local t = redis.call('TIME'); local now = t[1] * 1000 + math.floor(t[2] / 1000)
if ARGV[#ARGV] ~= '' and now > tonumber(ARGV[#ARGV]) then return {'LATE', now} end  -- a stalled Redis: the client was told 503
if ARGV[10] ~= '' then
  local prev = redis.call('GET', KEYS[7])
  if prev then
    local cut = string.find(prev, '|', 1, true)
    local id = string.sub(prev, 1, cut - 1)
    if id == ARGV[1] then return {'EXISTS'} end
    if string.sub(prev, cut + 1) ~= ARGV[10] then return {'CONFLICT', id} end
    local p = redis.call('HMGET', 'job:' .. id, 'st', 'cx', 'stream')
    -- A call that failed or was let go of has no answer worth repeating: this one runs afresh.
    if p[1] ~= 'failed' and p[1] ~= 'cancelled' and not (p[2] == '1' and p[3] == '1') then return {'REPLAY', id} end
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return {'EXISTS'} end      -- this very call, sent again after a time-out
local limits = tonumber(ARGV[14])
local first_budget, budgets = 8 + limits, #KEYS - 7 - limits
for i = 1, limits do
  local used = tonumber(redis.call('GET', KEYS[7 + i]) or '0')
  if used >= tonumber(ARGV[13 + 2 * i]) then return {'LIMIT', i, redis.call('PTTL', KEYS[7 + i])} end
end
local need = tonumber(ARGV[2])
for i = 1, budgets do
  local b = redis.call('HMGET', KEYS[first_budget + i - 1], 'avail', 'held')
  if not b[1] then return {'LOAD', i} end                             -- missing means "ask SQL", never "no limit"
  local avail, held = tonumber(b[1]), tonumber(b[2] or '0')
  if avail < 0 or avail - held < need then return {'PAY', i, b[1], b[2] or '0'} end
end
for i = 1, limits do
  if redis.call('INCR', KEYS[7 + i]) == 1 then redis.call('PEXPIRE', KEYS[7 + i], ARGV[14 + 2 * i]) end
end
if need > 0 then
  for i = 1, budgets do
    redis.call('HINCRBY', KEYS[first_budget + i - 1], 'held', ARGV[2])
    redis.call('HSET', KEYS[4], ARGV[14 + 2 * limits + i], ARGV[2])
  end
  if budgets > 0 then redis.call('ZADD', KEYS[5], now + tonumber(ARGV[3]), ARGV[1]) end
end
redis.call('HSET', KEYS[1], 'st', 'queued', 'ep', 0, 'att', 0, 'sent', 0, 'cx', 0, 'rq', 0, 'rings', 1, 'hist', '', 'wk', '',
  'stream', ARGV[13], 'fd', ARGV[6], 'pool', ARGV[12], 'q', KEYS[6], 'spec', ARGV[7], 'at', string.format('%.0f', now),
  'dl', string.format('%.0f', now + tonumber(ARGV[11])))
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], ARGV[8], 'PX', ARGV[5])
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[4]), ARGV[1])
if ARGV[10] ~= '' then redis.call('SET', KEYS[7], ARGV[1] .. '|' .. ARGV[10], 'PX', 86400000) end
redis.call('LPUSH', KEYS[6], ARGV[9])
return {'OK'}
