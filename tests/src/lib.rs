//! What the end-to-end tests are made of: real Redis servers, a breakable network, the real binary, a real browser.
//!
//! Nothing here sleeps to let something happen. Whoever needs a condition waits for it with [`until`], which looks
//! again and again until a deadline and says what it waited for when that passes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test harness reports")]

mod api;
mod browser;
mod cluster;
mod contender;
mod described;
mod impostor;
mod locks;
mod masters;
mod oddities;
mod oidc;
mod picture;
mod ports;
mod postgres_server;
mod program;
mod proxy;
mod redis_server;
mod sentinels;
mod server;
mod stream;
mod tls;
mod wait;

pub use api::{Answer, Api, Locks};
pub use browser::{Browser, LOOKS};
pub use cluster::{Cluster, range};
pub use contender::{Contender, Dialect, Step, ToldBy};
pub use impostor::Impostor;
pub use locks::{Family, LockClient, store};
pub use masters::{LEASE, Masters, quorum};
pub use oddities::Oddities;
pub use oidc::{CLIENT, Provider};
pub use picture::{Album, Compared, SAME_EVERYWHERE, Screen, still};
pub use ports::free_port;
pub use postgres_server::PostgresServer;
pub use program::{Left, Program, Running};
pub use proxy::{Caught, Proxy};
pub use redis_server::{LOADS_SLOWLY, RedisServer};
pub use sentinels::{PRIMARY, Sentinels};
pub use server::{HURRIED, Server, ServerBuilder, lockkeeper, security_acl};
pub use stream::Viewer;
pub use tls::Authority;
pub use wait::{DEADLINE, until, until_some};
