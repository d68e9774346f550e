use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::LuaInterface as _;
use fred::types::Value;
use uuid::Uuid;

/// How long a hold lasts that nobody touches, in milliseconds: no race takes this long.
const LEASE_MS: i64 = 60_000;

/// How the clients of one dialect take a lock and give it back: what its libraries do, as one script with a part for each
/// step, which answers 1 if it was done.
///
/// Every dialect is here that stores something by which one hold is told from the next. Huey, arq, redis-objects and the
/// locks of Spring's cache store the same for everybody, and a preview says that their value protects nobody.
#[derive(Debug)]
pub struct Dialect {
    /// What it is called in the catalogue; several have more than one form.
    pub name: &'static str,
    keys: &'static [&'static str],
    token: fn() -> Vec<u8>,
    /// What the dashboard shows for the holder where that is not what tells holds apart.
    shown: Option<&'static [u8]>,
    script: &'static str,
    /// Others may hold it at the same time.
    pub is_shared: bool,
    /// What a holder may do besides letting go.
    pub steps: &'static [Step],
}

/// What a holder does with what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pushes the lease out.
    Renew,
    /// Enters once more, or lets go and takes it again under the same token.
    Again,
    /// Falls silent until the lease is over.
    Lapse,
    /// Lets go.
    Leave,
}

/// One client that wants one lock.
#[derive(Clone, Debug)]
pub struct Contender {
    dialect: &'static Dialect,
    store: Client,
    keys: Vec<String>,
    token: Bytes,
}

impl Dialect {
    /// Every dialect, and every form of those that have several.
    pub const ALL: &[Dialect] = ALL;

    /// The keys under which a lock of this name lies.
    #[must_use]
    pub fn keys(&self, name: &str) -> Vec<String> {
        self.keys.iter().map(|key| key.replace('%', name)).collect()
    }

    /// A client that wants the lock of this name, with a token of its own.
    #[must_use]
    pub fn contender(&'static self, store: &Client, name: &str) -> Contender {
        Contender { dialect: self, store: store.clone(), keys: self.keys(name), token: (self.token)().into() }
    }
}

impl Contender {
    /// What the dashboard shows as the holder's token while this one has the lock, in base64.
    #[must_use]
    pub fn token_b64(&self) -> String {
        STANDARD.encode(self.dialect.shown.unwrap_or(&self.token))
    }

    /// One try. True: it has the lock.
    pub async fn take(&self) -> bool {
        self.run("take").await
    }

    /// One step. False: the lock is somebody else's, or free.
    pub async fn does(&self, step: Step) -> bool {
        self.run(match step {
            Step::Renew => "renew",
            Step::Again => "again",
            Step::Lapse => "lapse",
            Step::Leave => "leave",
        })
        .await
    }

    async fn run(&self, step: &str) -> bool {
        let arguments: Vec<Value> = vec![step.into(), Value::Bytes(self.token.clone()), LEASE_MS.into()];
        let script = format!("{PRELUDE}{}", self.dialect.script);
        let answer = self.store.eval(script, self.keys.clone(), arguments).await;
        answer.unwrap_or_else(|error| panic!("{} {step}: {error}", self.dialect.name))
    }
}

const RENEW_AND_LAPSE: &[Step] = &[Step::Renew, Step::Lapse];
const EVERYTHING: &[Step] = &[Step::Renew, Step::Again, Step::Lapse];

const fn plain(name: &'static str, keys: &'static [&'static str], token: fn() -> Vec<u8>) -> Dialect {
    of(name, keys, token, STRING, RENEW_AND_LAPSE)
}

const fn of(
    name: &'static str,
    keys: &'static [&'static str],
    token: fn() -> Vec<u8>,
    script: &'static str,
    steps: &'static [Step],
) -> Dialect {
    Dialect { name, keys, token, shown: None, script, is_shared: false, steps }
}

const fn shared(dialect: Dialect) -> Dialect {
    Dialect { is_shared: true, ..dialect }
}

const ALL: &[Dialect] = &[
    plain("redis-py", &["lock:py:%"], uuid1),
    of("python-redis-lock", &["lock:%", "lock-signal:%"], base64_of_18, SIGNALLED, RENEW_AND_LAPSE),
    plain("pottery", &["redlock:%"], uuid),
    plain("redis-semaphore", &["mutex:%"], uuid),
    plain("aioredlock", &["lock-%"], uuid),
    plain("node-redlock", &["lock:first:%", "lock:second:%"], hex_of_16),
    plain("redlock-py", &["lock:redlock-py:%"], letters_of_22),
    plain("bsm-redislock", &["lock:bsm:%"], base64url_and_metadata),
    plain("redsync", &["lock:redsync:%"], || STANDARD.encode(rand::random::<[u8; 16]>()).into_bytes()),
    plain("rslock", &["lock:rslock:%"], || raw(20)),
    plain("spring", &["order-locks:%"], uuid),
    plain("shedlock", &["job-lock:default:%"], shedlock_value),
    plain("rueidislock", &["rueidislock:0:%", "rueidislock:1:%", "rueidislock:2:%"], || raw(24)),
    plain("distributedlock-net", &["stock-%"], host_and_process),
    plain("distributedlock-net", &["cat-%.writer"], host_and_process),
    plain("laravel", &["app-database-app-cache-%"], || format!("a{}", &hex(15)[..15]).into_bytes()),
    plain("token", &["%:mutex"], || format!("worker-{}", hex(8)).into_bytes()),
    plain("rq-scheduler", &["rq:scheduler-lock:%"], || format!("host.{}", hex(16)).into_bytes()),
    plain("celery-singleton", &["SINGLETONLOCK_%"], uuid),
    of("lockkeeper-client", &["lock:own:%", "{lock:own:%}:fence"], || hex(40).into_bytes(), COUNTED, RENEW_AND_LAPSE),
    of("getset", &["RedisMutex:%"], deadline, GETSET, &[]),
    of("redisson", &["plain:%", "redisson_lock__channel:{plain:%}"], thread, REDISSON, EVERYTHING),
    of(
        "redisson-fair",
        &["fair:%", "redisson_lock_queue:{fair:%}", "redisson_lock_timeout:{fair:%}"],
        thread,
        REDISSON_FAIR,
        EVERYTHING,
    ),
    of(
        "redisson-fenced",
        &["fenced:%", "redisson_lock__channel:{fenced:%}", "redisson_lock_token:{fenced:%}"],
        thread,
        REDISSON_FENCED,
        EVERYTHING,
    ),
    of("redisson-rw", &["write:%"], || [thread(), b":write".to_vec()].concat(), REDISSON_WRITE, EVERYTHING),
    shared(of("redisson-rw", &["read:%"], thread, REDISSON_READ, EVERYTHING)),
    of("redisson-permits", &["permits:%", "{permits:%}:timeout"], || raw(16), REDISSON_PERMITS, RENEW_AND_LAPSE),
    of("redisson-multi-value", &["multi:%"], thread, REDISSON_MULTI_VALUE, EVERYTHING),
    of("redis-semaphore", &["semaphore:%"], uuid, NODE_SEMAPHORE, RENEW_AND_LAPSE),
    of("symfony", &["resource:%"], base64_of_32, SYMFONY, RENEW_AND_LAPSE),
    shared(of("symfony", &["shared:%"], base64_of_32, SYMFONY_SHARED, RENEW_AND_LAPSE)),
    of("symfony-semaphore", &["{%}:time", "{%}:weight"], base64_of_32, SYMFONY_SEMAPHORE, RENEW_AND_LAPSE),
    of("distributedlock-net", &["pool-%"], host_and_process, ENDS, RENEW_AND_LAPSE),
    shared(of("distributedlock-net", &["dog-%.readers"], host_and_process, READERS, RENEW_AND_LAPSE)),
    of("sidekiq-unique-jobs", &["uniquejobs:%:LOCKED", "uniquejobs:digests"], job, SIDEKIQ, &[Step::Again]),
    Dialect {
        shown: Some(b"0"),
        ..of(
            "ruby-redis-semaphore",
            &["SEMAPHORE:%:GRABBED", "SEMAPHORE:%:AVAILABLE", "SEMAPHORE:%:EXISTS"],
            moment,
            RUBY_SEMAPHORE,
            &[],
        )
    },
];

fn uuid() -> Vec<u8> {
    Uuid::new_v4().to_string().into_bytes()
}

fn uuid1() -> Vec<u8> {
    Uuid::now_v1(&[3, 1, 4, 1, 5, 9]).simple().to_string().into_bytes()
}

fn hex(digits: usize) -> String {
    let mut text = String::new();
    while text.len() < digits {
        text.push_str(&Uuid::new_v4().simple().to_string());
    }
    text.truncate(digits);
    text
}

/// Not of a UUID's form, whose version is the thirteenth digit.
fn hex_of_16() -> Vec<u8> {
    let mut digits = hex(32);
    digits.replace_range(12..13, "f");
    digits.into_bytes()
}

fn base64_of_18() -> Vec<u8> {
    STANDARD.encode(rand::random::<[u8; 18]>()).into_bytes()
}

fn base64_of_32() -> Vec<u8> {
    STANDARD.encode(rand::random::<[u8; 32]>()).into_bytes()
}

/// Ends as no base64 of 16 bytes does.
fn letters_of_22() -> Vec<u8> {
    format!("Z{}b", hex(20)).into_bytes()
}

fn base64url_and_metadata() -> Vec<u8> {
    format!("{}worker-7", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>())).into_bytes()
}

/// Random bytes that are no text.
fn raw(bytes: usize) -> Vec<u8> {
    let mut raw = vec![0xff; bytes];
    raw[1..17.min(bytes)].copy_from_slice(&rand::random::<[u8; 16]>()[..17.min(bytes) - 1]);
    raw
}

fn host_and_process() -> Vec<u8> {
    format!("worker-7_{}_{}", rand::random_range(1..30_000), hex(32)).into_bytes()
}

fn thread() -> Vec<u8> {
    format!("{}:{}", Uuid::new_v4(), rand::random_range(20..90)).into_bytes()
}

fn shedlock_value() -> Vec<u8> {
    format!("ADDED:2026-01-01T00:00:00.123Z@worker-7:{}", Uuid::new_v4()).into_bytes()
}

fn job() -> Vec<u8> {
    hex(24).into_bytes()
}

/// Seconds since 1970 with six digits behind the point, which tell one from the next.
fn seconds(ahead: u64) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    format!("{}.{:06}", now + ahead, rand::random_range(0..1_000_000)).into_bytes()
}

fn deadline() -> Vec<u8> {
    seconds(60)
}

fn moment() -> Vec<u8> {
    seconds(0)
}

const PRELUDE: &str = "\
local step, token, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function whole(number) return string.format('%.0f', number) end
-- When a hold ends after this step.
local ends = now + lease
if step == 'renew' then ends = now + 2 * lease elseif step == 'lapse' then ends = now + 1 end
";

/// One token in one key or several.
const STRING: &str = "\
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

const SIGNALLED: &str = "\
if step == 'take' then return redis.call('SET', KEYS[1], token, 'NX', 'PX', lease) and 1 or 0 end
if redis.call('GET', KEYS[1]) ~= token then return 0 end
if step ~= 'leave' then return redis.call('PEXPIREAT', KEYS[1], whole(ends)) end
redis.call('DEL', KEYS[2])
redis.call('LPUSH', KEYS[2], 1)
redis.call('PEXPIRE', KEYS[2], 1000)
return redis.call('DEL', KEYS[1])";

const COUNTED: &str = "\
if step == 'take' then
  if not redis.call('SET', KEYS[1], token, 'NX', 'PX', lease) then return 0 end
  redis.call('INCR', KEYS[2])
  return 1
end
if redis.call('GET', KEYS[1]) ~= token then return 0 end
if step == 'leave' then return redis.call('DEL', KEYS[1]) end
return redis.call('PEXPIREAT', KEYS[1], whole(ends))";

const GETSET: &str = "\
if step == 'take' then return redis.call('SETNX', KEYS[1], token) end
if redis.call('GET', KEYS[1]) ~= token then return 0 end
return redis.call('DEL', KEYS[1])";

const REDISSON: &str = "\
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

const REDISSON_FAIR: &str = "\
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
const REDISSON_FENCED: &str = "\
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

const REDISSON_WRITE: &str = "\
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

const REDISSON_READ: &str = "\
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

const REDISSON_PERMITS: &str = "\
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

const REDISSON_MULTI_VALUE: &str = "\
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
const NODE_SEMAPHORE: &str = "\
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

const SYMFONY: &str = "\
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

const SYMFONY_SHARED: &str = "\
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
if step ~= 'take' and not redis.call('ZSCORE', KEYS[1], token) then return 0 end
if step == 'leave' then return redis.call('ZREM', KEYS[1], token) end
redis.call('ZADD', KEYS[1], whole(ends), token)
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[1], whole(tonumber(last)))
return 1";

/// In seconds.
const SYMFONY_SEMAPHORE: &str = "\
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
const ENDS: &str = "\
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
const READERS: &str = "\
if step == 'take' then
  redis.call('SADD', KEYS[1], token)
elseif redis.call('SISMEMBER', KEYS[1], token) == 0 then
  return 0
end
if step == 'leave' then return redis.call('SREM', KEYS[1], token) end
redis.call('PEXPIREAT', KEYS[1], whole(math.max(ends, now + redis.call('PTTL', KEYS[1]))))
return 1";

/// As versions before 9 write it: the time at which the job got it is its value. A job that is tried again has the same id.
const SIDEKIQ: &str = "\
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
const RUBY_SEMAPHORE: &str = "\
if step == 'take' then
  if redis.call('SETNX', KEYS[3], 1) == 1 then redis.call('RPUSH', KEYS[2], '0') end
  if not redis.call('LPOP', KEYS[2]) then return 0 end
  return redis.call('HSET', KEYS[1], '0', token)
end
if redis.call('HGET', KEYS[1], '0') ~= token then return 0 end
redis.call('HDEL', KEYS[1], '0')
redis.call('LPUSH', KEYS[2], '0')
return 1";
