//! Who is healthy in the demo, as a list: each line is a service, its lock, and what it does with it. Written down apart
//! from the libraries, so that the same day can be lived without a store.

use std::time::Duration;

use super::worker::{About, End, Habit};

/// One service and its lock.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The process; several parts of one share its connection.
    pub(crate) process: String,
    /// What it calls the lock.
    pub(crate) lock: String,
    /// How its library keeps it.
    pub(crate) family: Family,
    /// What it does with it.
    pub(crate) habit: Habit,
}

/// How a library keeps a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    /// With this lease, renewed by the program if at all.
    RedisPy { lease: Duration, every: Option<Duration> },
    /// With this lease in seconds, which the library renews.
    PythonRedisLock { lease_s: u32 },
    /// With the watchdog's lease unless another is given, entered so many times.
    Redisson { lease: Option<Duration>, entries: u32 },
}

/// Locks that are held for a while, renewed and handed over.
pub(crate) fn steady() -> Vec<Part> {
    let mut parts = Vec::new();
    let shift = |begins_after, from, to| Habit {
        begins_after: s(begins_after),
        pause: About::s(2, 5),
        end: End::LetsGo(About::s(from, to)),
    };
    let mut add = |process: String, lock: &str, family, habit| {
        parts.push(Part { process, lock: lock.to_owned(), family, habit });
    };
    for instance in 1..=2 {
        let orders = |lease, every| Family::RedisPy { lease: s(lease), every: Some(s(every)) };
        let import = format!("orders-{instance}");
        add(import.clone(), "lock:orders:import", orders(30, 10), shift(instance - 1, 60, 150));
        add(import.clone(), "lock:orders:export", orders(15, 5), shift(2 - instance, 20, 45));
        // A long lease that nobody renews.
        let daily = Family::RedisPy { lease: s(600), every: None };
        add(import, "lock:reports:daily", daily, shift(instance - 1, 90, 200));
    }
    for instance in 1..=3 {
        let mail = Family::PythonRedisLock { lease_s: 12 };
        add(format!("newsletter-{instance}"), "mail:newsletter", mail, shift(instance - 1, 25, 50));
    }
    for instance in 1..=2 {
        let search = Family::PythonRedisLock { lease_s: 30 };
        add(format!("search-index-{instance}"), "search:reindex", search, shift(instance - 1, 50, 120));
    }
    // Entered twice by the same thread.
    let twice = Family::Redisson { lease: None, entries: 2 };
    add("catalog-1".to_owned(), "catalog:rebuild", twice, shift(0, 180, 400));
    for instance in 1..=2 {
        let shipping = |lease| Family::Redisson { lease, entries: 1 };
        let process = format!("shipping-{instance}");
        add(process.clone(), "shipping:labels", shipping(Some(s(20))), shift(instance - 1, 8, 16));
        add(process, "shipping:manifest", shipping(None), shift(2 - instance, 30, 60));
    }
    parts
}

/// Locks that come and go.
pub(crate) fn quick() -> Vec<Part> {
    let mut parts = Vec::new();
    let brisk = |from, to| Habit {
        begins_after: Duration::ZERO,
        pause: About::ms(300, 1_500),
        end: End::LetsGo(About::ms(from, to)),
    };
    let mut add = |process: String, lock: String, family, habit| parts.push(Part { process, lock, family, habit });
    for instance in 1..=3 {
        for article in [4711, 4712, 5120, 6003, 7788, 9001] {
            let stock = Family::RedisPy { lease: s(5), every: None };
            add(format!("stock-{instance}"), format!("lock:stock:{article}"), stock, brisk(400, 2_000));
        }
    }
    for instance in 1..=2 {
        for shard in [instance, instance + 2] {
            let thumbnails = Family::PythonRedisLock { lease_s: 5 };
            add(format!("thumbnails-{instance}"), format!("thumbnails:{shard}"), thumbnails, brisk(600, 2_500));
        }
    }
    for instance in 1..=3 {
        let invoices = Family::Redisson { lease: None, entries: 1 };
        let process = format!("invoices-{instance}");
        add(process.clone(), "invoices:numbering".to_owned(), invoices, brisk(500, 1_200));
        add(process, format!("customers:merge:{instance}"), invoices, brisk(800, 3_000));
    }
    parts
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
