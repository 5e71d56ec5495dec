-- Let a request in: idempotency, limits, rates, requests at once, budgets, job record, doorbell. All or nothing.
-- KEYS: 1 job  2 req  3 jobs:due  4 hold  5 holds:due  6 queue  7 idem
--       then one per limit, one per budget, one per rate, one per bound on requests at once
-- ARGV: 1 job id  2 ms its requests at once last at most  3 hold ttl ms  4 queue timeout ms  5 job ttl ms  6 front door
--       7 spec  8 request  9 doorbell envelope  10 fingerprint ('' = no idempotency key)  11 deadline ms from now  12 pool
--       13 streamed (0|1)  14 latest ms at which the caller still waits ('' = always)
--       15 number of limits  16 of budgets  17 of rates  18 of bounds on requests at once
--       then (max, ttl ms) per limit; (scope, hold nano) per budget; (us it takes, burst us, units a minute, t|r) per rate; max per bound
-- -> OK | EXISTS | CONFLICT id | REPLAY id | LIMIT i pttl | RATE i wait ms | FULL i | LOAD i | PAY i avail held | LATE now
local t = redis.call('TIME'); local us = t[1] * 1000000 + t[2]; local now = math.floor(us / 1000)
if ARGV[14] ~= '' and now > tonumber(ARGV[14]) then return {'LATE', now} end  -- a stalled Redis: the client was told 503
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
local limits, budgets, rates, bounds = tonumber(ARGV[15]), tonumber(ARGV[16]), tonumber(ARGV[17]), tonumber(ARGV[18])
local k, a = 7, 18                                                    -- where the keys and arguments of a kind begin
for i = 1, limits do
  local used = tonumber(redis.call('GET', KEYS[k + i]) or '0')
  if used >= tonumber(ARGV[a + 2 * i - 1]) then return {'LIMIT', i, redis.call('PTTL', KEYS[k + i])} end
end
local bk, ba = k + limits, a + 2 * limits
local rk, ra = bk + budgets, ba + 2 * budgets
local sk, sa = rk + rates, ra + 4 * rates
local free_at = {}
for i = 1, rates do
  local cost, burst = tonumber(ARGV[ra + 4 * i - 3]), tonumber(ARGV[ra + 4 * i - 2])
  local at = math.max(us, tonumber(redis.call('GET', KEYS[rk + i]) or '0')) + cost
  if at - us > burst then return {'RATE', i, math.ceil((at - us - burst) / 1000)} end
  free_at[i] = at
end
for i = 1, bounds do
  redis.call('ZREMRANGEBYSCORE', KEYS[sk + i], '-inf', now)
  if redis.call('ZCARD', KEYS[sk + i]) >= tonumber(ARGV[sa + i]) then return {'FULL', i} end
end
for i = 1, budgets do
  local b = redis.call('HMGET', KEYS[bk + i], 'avail', 'held')
  if not b[1] then return {'LOAD', i} end                             -- missing means "ask SQL", never "no limit"
  local avail, held, need = tonumber(b[1]), tonumber(b[2] or '0'), tonumber(ARGV[ba + 2 * i])
  if avail < 0 or avail - held < need then return {'PAY', i, b[1], b[2] or '0'} end
end
for i = 1, limits do
  if redis.call('INCR', KEYS[k + i]) == 1 then redis.call('PEXPIRE', KEYS[k + i], ARGV[a + 2 * i]) end
end
local paced = {}                                                      -- rates of tokens are put right at the end
for i = 1, rates do
  redis.call('SET', KEYS[rk + i], string.format('%.0f', free_at[i]), 'PX', math.ceil((free_at[i] - us) / 1000) + 60000)
  if ARGV[ra + 4 * i] == 't' then
    table.insert(paced, KEYS[rk + i] .. ' ' .. ARGV[ra + 4 * i - 1] .. ' ' .. ARGV[ra + 4 * i - 3] .. ' ' .. string.format('%.0f', us))
  end
end
for i = 1, bounds do
  redis.call('ZADD', KEYS[sk + i], string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
  redis.call('PEXPIRE', KEYS[sk + i], ARGV[2])
end
local holds = false
for i = 1, budgets do
  local need = ARGV[ba + 2 * i]
  if need ~= '0' then
    redis.call('HINCRBY', KEYS[bk + i], 'held', need)
    redis.call('HSET', KEYS[4], ARGV[ba + 2 * i - 1], need)
    holds = true
  end
end
if holds then redis.call('ZADD', KEYS[5], now + tonumber(ARGV[3]), ARGV[1]) end
redis.call('HSET', KEYS[1], 'st', 'queued', 'ep', 0, 'att', 0, 'sent', 0, 'cx', 0, 'rq', 0, 'rings', 1, 'hist', '', 'wk', '',
  'stream', ARGV[13], 'fd', ARGV[6], 'pool', ARGV[12], 'q', KEYS[6], 'spec', ARGV[7], 'at', string.format('%.0f', now),
  'dl', string.format('%.0f', now + tonumber(ARGV[11])))
if #paced > 0 then redis.call('HSET', KEYS[1], 'paced', table.concat(paced, '\n')) end
if bounds > 0 then redis.call('HSET', KEYS[1], 'slots', table.concat(KEYS, '\n', sk + 1, sk + bounds)) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('SET', KEYS[2], ARGV[8], 'PX', ARGV[5])
redis.call('ZADD', KEYS[3], now + tonumber(ARGV[4]), ARGV[1])
if ARGV[10] ~= '' then redis.call('SET', KEYS[7], ARGV[1] .. '|' .. ARGV[10], 'PX', 86400000) end
redis.call('LPUSH', KEYS[6], ARGV[9])
return {'OK'}
