//! Who is in the demo. Read it as a playbill: each line is a service, its lock, and what it does with it.

use std::collections::HashMap;
use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::HashesInterface as _;

use super::libraries::{Lockkeeper, PythonRedisLock, RedisPy, Redisson, connect, reporting};
use super::playbill::{self, Family, Part};
use super::transfer::transfers;
use super::worker::{About, End, Habit, Life, live};

/// Instances of the service that settles payments: one has the lock, the others wait.
const SETTLERS: u32 = 15;

/// Keys that are no locks, as every real store has.
const SESSIONS: u32 = 120;

/// Everybody, ready to begin.
pub(super) async fn assemble(port: u16) -> Result<Vec<Life>, Error> {
    let mut cast = Cast { port, lives: Vec::new() };
    cast.trouble().await?;
    cast.crowd().await?;
    cast.reporting().await?;
    cast.healthy().await?;
    cast.bystanders().await?;
    Ok(cast.lives)
}

struct Cast {
    port: u16,
    lives: Vec<Life>,
}

impl Cast {
    /// What somebody may have to get up for.
    async fn trouble(&mut self) -> Result<(), Error> {
        // One instance died with a lock that has no expiry. Whoever frees it sees the next instance do the run.
        let dies = Habit { end: End::Dies(About::ms(200, 300), About::s(60, 90)), ..AT_ONCE };
        self.add(RedisPy::new(self.connect("billing-run-1").await?, "lock:billing:invoice-run", None), dies);
        let heir = Habit { begins_after: s(3), pause: About::s(120, 180), end: End::LetsGo(About::s(12, 20)) };
        self.add(RedisPy::new(self.connect("billing-run-2").await?, "lock:billing:invoice-run", None), heir);

        // One hangs and goes on renewing, while three wait.
        let sync = |client| RedisPy::new(client, "lock:warehouse:sync", Some(s(10))).renewed_every(s(3));
        self.add(sync(self.connect("warehouse-sync-1").await?), Habit { end: End::Hangs, ..AT_ONCE });
        for instance in 2..=4 {
            let waits = Habit { begins_after: s(1), pause: About::s(10, 20), end: End::LetsGo(About::s(3, 6)) };
            self.add(sync(self.connect(&format!("warehouse-sync-{instance}")).await?), waits);
        }

        // One dies now and then; its lease ends a minute later, and another goes on.
        let import = |client| RedisPy::new(client, "lock:import:prices", Some(s(60))).renewed_every(s(5));
        for instance in 1..=2 {
            let dies =
                Habit { begins_after: s(instance - 1), end: End::Dies(About::s(25, 50), About::s(20, 40)), ..AT_ONCE };
            self.add(import(self.connect(&format!("import-prices-{instance}")).await?), dies);
        }
        Ok(())
    }

    /// One lock that everybody wants.
    async fn crowd(&mut self) -> Result<(), Error> {
        for instance in 1..=SETTLERS {
            let client = self.connect(&format!("payments-{instance}")).await?;
            let habit = Habit {
                begins_after: Duration::from_millis(60 * u64::from(instance)),
                pause: About::ms(300, 900),
                end: End::LetsGo(About::s(40, 80)),
            };
            self.add(Redisson::new(client, "payments:settlement"), habit);
        }
        Ok(())
    }

    /// Services that use the reference client and say who they are.
    async fn reporting(&mut self) -> Result<(), Error> {
        // One allocates seats and three wait to.
        for instance in 1..=4 {
            let locks = reporting(self.port, &format!("seats-{instance}")).await?;
            let habit =
                Habit { begins_after: s(instance - 1), pause: About::s(1, 3), end: End::LetsGo(About::s(15, 40)) };
            self.add(Lockkeeper::new(locks, "lock:seats:allocation", s(15)), habit);
        }
        // Two that need the same two locks, each in its own order: again and again both wait until one gives up.
        let (checking, savings) = ("lock:accounts:checking", "lock:accounts:savings");
        self.lives.push(transfers(reporting(self.port, "transfers-1").await?, checking, savings));
        self.lives.push(transfers(reporting(self.port, "transfers-2").await?, savings, checking));
        Ok(())
    }

    /// Those who are well: see [`playbill`].
    async fn healthy(&mut self) -> Result<(), Error> {
        let mut clients: HashMap<String, Client> = HashMap::new();
        for Part { process, lock, family, habit } in [playbill::steady(), playbill::quick()].concat() {
            let client = match clients.get(&process) {
                Some(client) => client.clone(),
                None => self.connect(&process).await?,
            };
            clients.insert(process, client.clone());
            match family {
                Family::RedisPy { lease, every: Some(every) } => {
                    self.add(RedisPy::new(client, &lock, Some(lease)).renewed_every(every), habit);
                }
                Family::RedisPy { lease, every: None } => self.add(RedisPy::new(client, &lock, Some(lease)), habit),
                Family::PythonRedisLock { lease_s } => self.add(PythonRedisLock::new(client, &lock, lease_s), habit),
                Family::Redisson { lease, entries } => {
                    let redisson = Redisson::new(client, &lock).entered(entries);
                    match lease {
                        Some(lease) => self.add(redisson.with_lease(lease), habit),
                        None => self.add(redisson, habit),
                    }
                }
            }
        }
        Ok(())
    }

    /// What a store holds besides locks.
    async fn bystanders(&mut self) -> Result<(), Error> {
        let client = self.connect("web-1").await?;
        for session in 0..SESSIONS {
            let fields = [("user", format!("customer-{}", 1000 + session)), ("items", (session % 7).to_string())];
            let _: i64 = client.hset(format!("session:{session:04}"), fields.to_vec()).await?;
        }
        Ok(())
    }

    async fn connect(&self, name: &str) -> Result<Client, Error> {
        connect(self.port, name).await
    }

    fn add(&mut self, lock: impl super::libraries::LockClient, habit: Habit) {
        self.lives.push(live(lock, habit));
    }
}

const AT_ONCE: Habit = Habit { begins_after: Duration::ZERO, pause: About::s(1, 2), end: End::Hangs };

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
