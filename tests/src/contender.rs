mod scripts;
mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::LuaInterface as _;
use fred::types::Value;

use scripts::*;
use tokens::*;

/// How long a hold lasts that nobody touches, in milliseconds: no race takes this long, however busy the machine is.
const LEASE_MS: i64 = 600_000;

/// How much later the lease of whoever comes next ends, in milliseconds. Two that end closer together than it takes to
/// read them are one and the same lease to everybody who looks.
const LATER_MS: i64 = 1_000;

/// How the clients of one dialect take a lock and give it back. Every dialect is here whose locks can be released.
#[derive(Debug)]
pub struct Dialect {
    /// What it is called in the catalogue; several have more than one form.
    pub name: &'static str,
    keys: &'static [&'static str],
    token: fn() -> Vec<u8>,
    /// What the dashboard shows for the holder where that is not what tells holds apart.
    shown: Option<&'static [u8]>,
    /// What of one hold is not true of the next.
    pub told_by: ToldBy,
    script: &'static str,
    /// Others may hold it at the same time.
    pub is_shared: bool,
    /// What a holder may do besides letting go.
    pub steps: &'static [Step],
}

/// By what one hold is told from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToldBy {
    /// Something that is stored: a token, a count, a number, a time.
    Value,
    /// When it ends alone: everybody stores the same.
    Lease,
    /// Nothing: everybody stores the same, for ever. A preview says so.
    Nothing,
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
    lease_ms: i64,
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
        let (store, keys, token) = (store.clone(), self.keys(name), (self.token)().into());
        Contender { dialect: self, store, keys, token, lease_ms: LEASE_MS }
    }
}

impl Contender {
    /// The same with a lease that ends later.
    #[must_use]
    pub fn later(self) -> Contender {
        Contender { lease_ms: LEASE_MS + LATER_MS, ..self }
    }

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
        self.run(step.word()).await
    }

    /// The same client with another connection, to another server.
    #[must_use]
    pub fn on(&self, store: &Client) -> Contender {
        Contender { store: store.clone(), ..self.clone() }
    }

    /// One try, or a step, on a server that may be no primary or be leaving; `None`: it did not answer as one.
    pub async fn tries(&self, step: Option<Step>) -> Option<bool> {
        self.try_run(step.map_or("take", Step::word)).await.ok()
    }

    async fn run(&self, step: &str) -> bool {
        self.try_run(step).await.unwrap_or_else(|error| panic!("{} {step}: {error}", self.dialect.name))
    }

    async fn try_run(&self, step: &str) -> Result<bool, Error> {
        let stored = Value::Bytes(Bytes::from_static(self.dialect.shown.unwrap_or_default()));
        let arguments: Vec<Value> = vec![step.into(), Value::Bytes(self.token.clone()), self.lease_ms.into(), stored];
        let script = format!("{PRELUDE}{}", self.dialect.script);
        self.store.eval(script, self.keys.clone(), arguments).await
    }
}

impl Step {
    fn word(self) -> &'static str {
        match self {
            Step::Renew => "renew",
            Step::Again => "again",
            Step::Lapse => "lapse",
            Step::Leave => "leave",
        }
    }
}

/// What huey stores for everybody.
const PICKLED_ONE: &[u8] = b"\x80\x05\x95\x05\0\0\0\0\0\0\0\x8c\x011\x94.";

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
    Dialect { name, keys, token, shown: None, told_by: ToldBy::Value, script, is_shared: false, steps }
}

/// What everybody stores, and beside the lock's key that under which it stands who took it.
const fn ownerless(name: &'static str, keys: &'static [&'static str], value: &'static [u8]) -> Dialect {
    let dialect = of(name, keys, uuid, OWNERLESS, &[Step::Lapse]);
    Dialect { shown: Some(value), told_by: ToldBy::Lease, ..dialect }
}

const fn shared(dialect: Dialect) -> Dialect {
    Dialect { is_shared: true, ..dialect }
}

const ALL: &[Dialect] = &[
    plain("redis-py", &["lock:py:%"], uuid1),
    plain("django-redis", &[":1:%"], uuid1),
    plain("redbeat", &["redbeat:%:lock"], uuid1),
    plain("celery-once", &["qo_%"], uuid1),
    of("python-redis-lock", &["lock:%", "lock-signal:%"], base64_of_18, SIGNALLED, RENEW_AND_LAPSE),
    plain("pottery", &["redlock:%"], uuid),
    plain("redis-semaphore", &["mutex:%"], uuid),
    plain("aioredlock", &["lock-%"], uuid),
    plain("node-redlock", &["lock:first:%", "lock:second:%"], hex_of_16),
    plain("redlock-py", &["lock:redlock-py:%"], letters_of_22),
    plain("bsm-redislock", &["lock:bsm:%"], base64url_and_metadata),
    plain("redsync", &["lock:redsync:%"], base64_of_16),
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
    ownerless("arq", &["arq:in-progress:%", "taker:arq:%"], b"1"),
    ownerless("redis-objects", &["user:%:transfer_lock", "taker:objects:%"], b""),
    ownerless("spring-cache", &["prices-%~lock", "taker:cache:%"], b""),
    ownerless("huey", &["huey.r.shop.shop.lock.%", "taker:huey:%"], PICKLED_ONE),
    Dialect {
        told_by: ToldBy::Nothing,
        script: OWNERLESS_FIELD,
        steps: &[],
        ..ownerless("huey", &["huey.results.%", "taker:results:%"], PICKLED_ONE)
    },
];
