//! What each dialect's clients do, as one script with a part for each step, which answers 1 if it was done.
//!
//! `KEYS` are those of the lock; `ARGV` is the step, the contender's token, its lease in milliseconds, and what is stored
//! where that is not the token.

pub(super) const PRELUDE: &str = "\
local step, token, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function whole(number) return string.format('%.0f', number) end
-- When a hold ends after this step.
local ends = now + lease
if step == 'renew' then ends = now + 2 * lease elseif step == 'lapse' then ends = now + 1 end
";

/// One token in one key or several.
pub(super) const STRING: &str = "\
if step == 'take' then
  for _, key in ipairs(KEYS) do if redis.call('EXISTS', key) == 1 then return 0 end end
  for _, key in ipairs(KEYS) do redis.call('SET', key, token, 'PX', lease) end
  return 1
end
for _, key in ipairs(KEYS) do if redis.call('GET', key) ~= token then return 0 end end
for _, key in ipairs(KEYS) do
  if step == 'leave' then redis.call('DEL', key) else redis.call('PEXPIREAT', key, whole(ends)) end
end
return 1";

pub(super) const SIGNALLED: &str = "\
if step == 'take' then return redis.call('SET', KEYS[1], token, 'NX', 'PX', lease) and 1 or 0 end
if redis.call('GET', KEYS[1]) ~= token then return 0 end
if step ~= 'leave' then return redis.call('PEXPIREAT', KEYS[1], whole(ends)) end
redis.call('DEL', KEYS[2])
redis.call('LPUSH', KEYS[2], 1)
redis.call('PEXPIRE', KEYS[2], 1000)
return redis.call('DEL', KEYS[1])";

pub(super) const COUNTED: &str = "\
if step == 'take' then
  if not redis.call('SET', KEYS[1], token, 'NX', 'PX', lease) then return 0 end
  redis.call('INCR', KEYS[2])
  return 1
end
if redis.call('GET', KEYS[1]) ~= token then return 0 end
if step == 'leave' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIREAT', KEYS[1], whole(ends))";

pub(super) const GETSET: &str = "\
if step == 'take' then return redis.call('SETNX', KEYS[1], token) end
if redis.call('GET', KEYS[1]) ~= token then return 0 end
return redis.call('DEL', KEYS[1])";

pub(super) const REDISSON: &str = "\
if step == 'take' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  redis.call('HINCRBY', KEYS[1], token, 1)
  redis.call('PEXPIRE', KEYS[1], lease)
  return 1
end
if redis.call('HEXISTS', KEYS[1], token) == 0 then return 0 end
if step == 'leave' then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', KEYS[2], 0)
  return 1
end
if step == 'again' then redis.call('HINCRBY', KEYS[1], token, 1) end
return redis.call('PEXPIREAT', KEYS[1], whole(ends))";

pub(super) const REDISSON_FAIR: &str = "\
if step == 'take' then
  local head = redis.call('LINDEX', KEYS[2], 0)
  if redis.call('EXISTS', KEYS[1]) == 0 and (not head or head == token) then
    redis.call('LPOP', KEYS[2])
    redis.call('ZREM', KEYS[3], token)
    redis.call('HSET', KEYS[1], token, 1)
    redis.call('PEXPIRE', KEYS[1], lease)
    return 1
  end
  if not redis.call('ZSCORE', KEYS[3], token) then
    redis.call('ZADD', KEYS[3], whole(now + 300000), token)
    redis.call('RPUSH', KEYS[2], token)
  end
  return 0
end
if redis.call('HEXISTS', KEYS[1], token) == 0 then return 0 end
if step == 'leave' then
  local head = redis.call('LINDEX', KEYS[2], 0)
  redis.call('DEL', KEYS[1])
  if head then redis.call('PUBLISH', 'redisson_lock__channel:{' .. KEYS[1] .. '}:' .. head, 0) end
  return 1
end
if step == 'again' then redis.call('HINCRBY', KEYS[1], token, 1) end
return redis.call('PEXPIREAT', KEYS[1], whole(ends))";

/// The same thread takes it again with the same count: only the number of the fence is another.
pub(super) const REDISSON_FENCED: &str = "\
if step == 'take' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  redis.call('INCR', KEYS[3])
  redis.call('HINCRBY', KEYS[1], token, 1)
  redis.call('PEXPIRE', KEYS[1], lease)
  return 1
end
if redis.call('HEXISTS', KEYS[1], token) == 0 then return 0 end
if step == 'leave' then
  redis.call('DEL', KEYS[1])
  redis.call('PUBLISH', KEYS[2], 0)
  return 1
end
if step == 'again' then return redis.call('INCR', KEYS[3]) > 0 and 1 end
return redis.call('PEXPIREAT', KEYS[1], whole(ends))";

pub(super) const REDISSON_WRITE: &str = "\
if step == 'take' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
  redis.call('HSET', KEYS[1], 'mode', 'write', token, 1)
  redis.call('PEXPIRE', KEYS[1], lease)
  return 1
end
if redis.call('HEXISTS', KEYS[1], token) == 0 then return 0 end
if step == 'leave' then return redis.call('DEL', KEYS[1]) end
if step == 'again' then redis.call('HINCRBY', KEYS[1], token, 1) end
return redis.call('PEXPIREAT', KEYS[1], whole(ends))";

pub(super) const REDISSON_READ: &str = "\
local function slot(n) return '{' .. KEYS[1] .. '}:' .. token .. ':rwlock_timeout:' .. n end
local function live() redis.call('PEXPIREAT', KEYS[1], whole(math.max(ends, now + redis.call('PTTL', KEYS[1])))) end
if step == 'take' then
  redis.call('HSET', KEYS[1], 'mode', 'read')
  redis.call('HINCRBY', KEYS[1], token, 1)
  redis.call('SET', slot(1), 1, 'PX', lease)
  live()
  return 1
end
local count = tonumber(redis.call('HGET', KEYS[1], token) or 0)
if count == 0 then return 0 end
if step == 'leave' then
  for n = 1, count do redis.call('DEL', slot(n)) end
  redis.call('HDEL', KEYS[1], token)
  if redis.call('HLEN', KEYS[1]) == 1 then redis.call('DEL', KEYS[1]) end
  return 1
end
if step == 'again' then
  redis.call('HINCRBY', KEYS[1], token, 1)
  redis.call('SET', slot(count + 1), 1, 'PX', lease)
end
redis.call('PEXPIREAT', slot(1), whole(ends))
live()
return 1";

pub(super) const REDISSON_PERMITS: &str = "\
redis.call('SETNX', KEYS[1], 1)
if step == 'take' then
  local over = redis.call('ZREMRANGEBYSCORE', KEYS[2], 0, whole(now))
  if over > 0 then redis.call('INCRBY', KEYS[1], over) end
  if tonumber(redis.call('GET', KEYS[1])) == 0 then return 0 end
  redis.call('DECR', KEYS[1])
  return redis.call('ZADD', KEYS[2], whole(ends), token)
end
local score = redis.call('ZSCORE', KEYS[2], token)
if not score or tonumber(score) <= now then return 0 end
if step == 'leave' then
  redis.call('ZREM', KEYS[2], token)
  redis.call('INCR', KEYS[1])
else
  redis.call('ZADD', KEYS[2], whole(ends), token)
end
return 1";

pub(super) const REDISSON_MULTI_VALUE: &str = "\
local value = 'v1=='
local holder = redis.call('HGET', KEYS[1], value)
local function of(holder) return value .. ':' .. holder .. ':expire_time', value .. ':' .. holder .. ':lock_count' end
local theirs, count
if holder then
  theirs, count = of(holder)
  if tonumber(redis.call('HGET', KEYS[1], theirs)) <= now then
    redis.call('HDEL', KEYS[1], value, theirs, count)
    holder = false
  end
end
if step == 'take' then
  if holder then return 0 end
  theirs, count = of(token)
  redis.call('HSET', KEYS[1], value, token, theirs, whole(ends), count, 1)
  return 1
end
if holder ~= token then return 0 end
if step == 'leave' then
  redis.call('HDEL', KEYS[1], value, theirs, count)
  return 1
end
if step == 'again' then redis.call('HINCRBY', KEYS[1], count, 1) end
redis.call('HSET', KEYS[1], theirs, whole(ends))
return 1";

/// The score is the moment of the last refresh.
pub(super) const NODE_SEMAPHORE: &str = "\
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - lease))
if step == 'take' then
  if redis.call('ZCARD', KEYS[1]) > 0 then return 0 end
  redis.call('ZADD', KEYS[1], whole(now), token)
  redis.call('PEXPIRE', KEYS[1], lease)
  return 1
end
if not redis.call('ZSCORE', KEYS[1], token) then return 0 end
if step == 'leave' then return redis.call('ZREM', KEYS[1], token) end
redis.call('ZADD', KEYS[1], whole(ends - lease), token)
redis.call('PEXPIREAT', KEYS[1], whole(ends))
return 1";

pub(super) const SYMFONY: &str = "\
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
if step == 'take' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
elseif not redis.call('ZSCORE', KEYS[1], token) then
  return 0
end
if step == 'leave' then
  redis.call('ZREM', KEYS[1], token, '__write__')
  return 1
end
redis.call('ZADD', KEYS[1], whole(ends), token, whole(ends), '__write__')
return redis.call('PEXPIREAT', KEYS[1], whole(ends))";

pub(super) const SYMFONY_SHARED: &str = "\
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
if step ~= 'take' and not redis.call('ZSCORE', KEYS[1], token) then return 0 end
if step == 'leave' then return redis.call('ZREM', KEYS[1], token) end
redis.call('ZADD', KEYS[1], whole(ends), token)
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[1], whole(tonumber(last)))
return 1";

/// In seconds.
pub(super) const SYMFONY_SEMAPHORE: &str = "\
for _, over in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', whole(math.floor(now / 1000)))) do
  redis.call('ZREM', KEYS[1], over)
  redis.call('ZREM', KEYS[2], over)
end
if step == 'take' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
elseif not redis.call('ZSCORE', KEYS[1], token) then
  return 0
end
if step == 'leave' then
  redis.call('ZREM', KEYS[1], token)
  return redis.call('ZREM', KEYS[2], token)
end
redis.call('ZADD', KEYS[1], whole(math.floor(ends / 1000)), token)
redis.call('ZADD', KEYS[2], 1, token)
return 1";

/// Members with their ends, of which one may be there.
pub(super) const ENDS: &str = "\
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
if step == 'take' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
elseif not redis.call('ZSCORE', KEYS[1], token) then
  return 0
end
if step == 'leave' then return redis.call('ZREM', KEYS[1], token) end
redis.call('ZADD', KEYS[1], whole(ends), token)
redis.call('PEXPIREAT', KEYS[1], whole(ends + lease))
return 1";

/// One expiry serves all readers, and a reader that falls silent cannot let it run out alone.
pub(super) const READERS: &str = "\
if step == 'take' then
  redis.call('SADD', KEYS[1], token)
elseif redis.call('SISMEMBER', KEYS[1], token) == 0 then
  return 0
end
if step == 'leave' then return redis.call('SREM', KEYS[1], token) end
redis.call('PEXPIREAT', KEYS[1], whole(math.max(ends, now + redis.call('PTTL', KEYS[1]))))
return 1";

/// As versions before 9 write it: the time at which the job got it is its value. A job that is tried again has the same id.
pub(super) const SIDEKIQ: &str = "\
local digest = string.gsub(KEYS[1], ':LOCKED', '')
local stamp = string.format('%d.%06d', time[1], time[2])
if step == 'take' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
elseif redis.call('HEXISTS', KEYS[1], token) == 0 then
  return 0
end
if step == 'leave' then
  redis.call('DEL', KEYS[1], digest)
  redis.call('ZREM', KEYS[2], digest)
  return 1
end
redis.call('HSET', KEYS[1], token, stamp)
redis.call('SET', digest, token)
redis.call('ZADD', KEYS[2], time[1], digest)
return 1";

/// Everybody's token is the number of a permit; the moment at which it was grabbed tells one hold from the next.
pub(super) const RUBY_SEMAPHORE: &str = "\
if step == 'take' then
  if redis.call('SETNX', KEYS[3], 1) == 1 then redis.call('RPUSH', KEYS[2], '0') end
  if not redis.call('LPOP', KEYS[2]) then return 0 end
  return redis.call('HSET', KEYS[1], '0', token)
end
if redis.call('HGET', KEYS[1], '0') ~= token then return 0 end
redis.call('HDEL', KEYS[1], '0')
redis.call('LPUSH', KEYS[2], '0')
return 1";

/// The same value for everybody. Who took it stands beside the lock, where no library looks: only so does a client here let
/// go of nothing but its own.
pub(super) const OWNERLESS: &str = "\
if step == 'take' then
  if not redis.call('SET', KEYS[1], ARGV[4], 'NX', 'PXAT', whole(ends)) then return 0 end
  redis.call('SET', KEYS[2], token)
  return 1
end
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('GET', KEYS[2]) ~= token then return 0 end
if step == 'leave' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIREAT', KEYS[1], whole(ends))";

/// The same in a field among others, without a lease.
pub(super) const OWNERLESS_FIELD: &str = "\
local field = 'shop.lock.nightly'
if step == 'take' then
  if redis.call('HSETNX', KEYS[1], field, ARGV[4]) == 0 then return 0 end
  redis.call('SET', KEYS[2], token)
  return 1
end
if redis.call('GET', KEYS[2]) ~= token then return 0 end
return redis.call('HDEL', KEYS[1], field)";
