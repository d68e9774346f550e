//! Who is in the demo. Read it as a playbill: each line is a service, its lock, and what it does with it.

use std::time::Duration;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::HashesInterface as _;

use super::libraries::{Lockkeeper, PythonRedisLock, RedisPy, Redisson, connect, reporting};
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
    cast.steady().await?;
    cast.quick().await?;
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

    /// Locks that are held for a while, renewed and handed over.
    async fn steady(&mut self) -> Result<(), Error> {
        let shift = |begins_after, from, to| Habit {
            begins_after: s(begins_after),
            pause: About::s(2, 5),
            end: End::LetsGo(About::s(from, to)),
        };
        for instance in 1..=2 {
            let import = self.connect(&format!("orders-{instance}")).await?;
            let orders =
                |name, lease, every| RedisPy::new(import.clone(), name, Some(s(lease))).renewed_every(s(every));
            self.add(orders("lock:orders:import", 30, 10), shift(instance - 1, 60, 150));
            self.add(orders("lock:orders:export", 15, 5), shift(2 - instance, 20, 45));
            // A long lease that nobody renews.
            self.add(RedisPy::new(import, "lock:reports:daily", Some(s(600))), shift(instance - 1, 90, 200));
        }
        for instance in 1..=3 {
            let client = self.connect(&format!("newsletter-{instance}")).await?;
            self.add(PythonRedisLock::new(client, "mail:newsletter", 12), shift(instance - 1, 25, 50));
        }
        for instance in 1..=2 {
            let client = self.connect(&format!("search-index-{instance}")).await?;
            self.add(PythonRedisLock::new(client, "search:reindex", 30), shift(instance - 1, 50, 120));
        }
        // Entered twice by the same thread.
        let client = self.connect("catalog-1").await?;
        self.add(Redisson::new(client, "catalog:rebuild").entered(2), shift(0, 180, 400));
        for instance in 1..=2 {
            let client = self.connect(&format!("shipping-{instance}")).await?;
            let labels = Redisson::new(client.clone(), "shipping:labels").with_lease(s(20));
            self.add(labels, shift(instance - 1, 8, 16));
            self.add(Redisson::new(client, "shipping:manifest"), shift(2 - instance, 30, 60));
        }
        Ok(())
    }

    /// Locks that come and go.
    async fn quick(&mut self) -> Result<(), Error> {
        let brisk = |from, to| Habit {
            begins_after: Duration::ZERO,
            pause: About::ms(300, 1_500),
            end: End::LetsGo(About::ms(from, to)),
        };
        for instance in 1..=3 {
            let client = self.connect(&format!("stock-{instance}")).await?;
            for article in [4711, 4712, 5120, 6003, 7788, 9001] {
                let stock = RedisPy::new(client.clone(), &format!("lock:stock:{article}"), Some(s(5)));
                self.add(stock, brisk(400, 2_000));
            }
        }
        for instance in 1..=2 {
            let client = self.connect(&format!("thumbnails-{instance}")).await?;
            for shard in [instance, instance + 2] {
                let thumbnails = PythonRedisLock::new(client.clone(), &format!("thumbnails:{shard}"), 5);
                self.add(thumbnails, brisk(600, 2_500));
            }
        }
        for instance in 1..=3 {
            let client = self.connect(&format!("invoices-{instance}")).await?;
            self.add(Redisson::new(client.clone(), "invoices:numbering"), brisk(500, 1_200));
            self.add(Redisson::new(client, &format!("customers:merge:{instance}")), brisk(800, 3_000));
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
