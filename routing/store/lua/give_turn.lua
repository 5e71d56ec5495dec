-- End a turn, if it is still ours.
-- KEYS: 1 turn   ARGV: 1 token
-- -> 1 | 0 it had ended, and may be another's by now
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
