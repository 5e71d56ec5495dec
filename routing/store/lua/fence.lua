-- Take a job away from its holder, who may be dead or only slow. KEYS: 1 job   ARGV: 1 epoch  2 state it must be in
-- -> new epoch, or 0
local j = redis.call('HMGET', KEYS[1], 'ep', 'st')
if j[1] ~= ARGV[1] or j[2] ~= ARGV[2] then return 0 end
return redis.call('HINCRBY', KEYS[1], 'ep', 1)
