//! Slows down whoever guesses passwords, by account and by address, in bounded memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Wrong passwords that cost nothing but themselves: people mistype.
const FREE: u32 = 5;

/// The wait after the first one beyond those. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait: 60 guesses an hour, of the 100 that OWASP ASVS 4.0, 2.2.1 allows; and nobody on call is kept out
/// for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// After this long without a wrong password everything is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// Accounts and addresses that are remembered, some hundred kilobytes. Beyond that the one that may try again soonest
/// is forgotten: filling the table costs an attacker more comparisons than they gain.
const MAX_REMEMBERED: usize = 4_096;

/// What attempts are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    /// A name, whether or not there is somebody of that name.
    Account(String),
    /// A name from an address that it signed in from before: nobody else's guesses keep its owner out there.
    Familiar(String, IpAddr),
    /// An address; of IPv6 the network of 64 bits, which is what one customer gets.
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug)]
struct Record {
    wrong: u32,
    free_at: Instant,
}

/// Counts wrong passwords.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    records: Mutex<HashMap<Counted, Record>>,
}

/// An attempt that may be made. It counts as wrong until it is said to have been right, so that attempts at the same
/// time count too.
#[derive(Debug)]
pub(super) struct Attempt {
    account: String,
    address: IpAddr,
}

impl Throttle {
    /// Room for an attempt, or how long to wait before the next one.
    pub(super) fn begin(&self, account: &str, address: IpAddr) -> Result<Attempt, Duration> {
        let now = Instant::now();
        let address = network(address);
        let mut records = self.records();
        let familiar = Counted::Familiar(account.to_owned(), address);
        // Whoever is at home there is counted apart, and not by the address that they may share with a guesser.
        let counted = if records.contains_key(&familiar) {
            vec![familiar]
        } else {
            vec![Counted::Account(account.to_owned()), Counted::Address(address)]
        };
        let wait = counted
            .iter()
            .filter_map(|counted| records.get(counted))
            .map(|record| record.free_at.saturating_duration_since(now))
            .max()
            .filter(|wait| !wait.is_zero());
        if let Some(wait) = wait {
            return Err(wait);
        }
        for counted in counted {
            make_room(&mut records, &counted, now);
            let record = records.entry(counted).or_insert(Record { wrong: 0, free_at: now });
            if now.saturating_duration_since(record.free_at) > FORGOTTEN {
                record.wrong = 0;
            }
            record.wrong = record.wrong.saturating_add(1);
            record.free_at = now + wait_after(record.wrong);
        }
        Ok(Attempt { account: account.to_owned(), address })
    }

    /// The password was right.
    pub(super) fn right(&self, attempt: Attempt) {
        let now = Instant::now();
        let mut records = self.records();
        records.remove(&Counted::Account(attempt.account.clone()));
        // The address may be a guesser's who has an account too: only this attempt is taken back.
        if let Some(record) = records.get_mut(&Counted::Address(attempt.address)) {
            record.wrong = record.wrong.saturating_sub(1);
            record.free_at = now;
        }
        let familiar = Counted::Familiar(attempt.account, attempt.address);
        make_room(&mut records, &familiar, now);
        records.insert(familiar, Record { wrong: 0, free_at: now });
    }

    fn records(&self) -> std::sync::MutexGuard<'_, HashMap<Counted, Record>> {
        // Whoever panicked left whole records behind.
        self.records.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn make_room(records: &mut HashMap<Counted, Record>, for_this: &Counted, now: Instant) {
    if records.len() < MAX_REMEMBERED || records.contains_key(for_this) {
        return;
    }
    records.retain(|_, record| now.saturating_duration_since(record.free_at) <= FORGOTTEN);
    if records.len() >= MAX_REMEMBERED
        && let Some(soonest) =
            records.iter().min_by_key(|(_, record)| record.free_at).map(|(counted, _)| counted.clone())
    {
        records.remove(&soonest);
    }
}

fn wait_after(wrong: u32) -> Duration {
    match wrong.checked_sub(FREE) {
        None | Some(0) => Duration::ZERO,
        Some(beyond) => FIRST_WAIT.saturating_mul(2_u32.saturating_pow(beyond - 1)).min(LONGEST_WAIT),
    }
}

/// What one customer gets of the net: an address, of IPv6 a network of 64 bits.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_a_few_wrong_passwords_each_costs_a_longer_wait() {
        let throttle = Throttle::default();
        for _ in 0..=FREE {
            throttle.begin("ada", address(1)).unwrap();
        }
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = throttle.begin("ada", address(1)).unwrap_err();
            waits.push(wait.as_secs());
            tokio::time::advance(wait).await;
            throttle.begin("ada", address(1)).unwrap();
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        tokio::time::advance(FORGOTTEN + LONGEST_WAIT + FIRST_WAIT).await;
        for _ in 0..=FREE {
            throttle.begin("ada", address(1)).unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_is_slowed_from_everywhere_and_an_address_for_every_account() {
        let throttle = Throttle::default();
        for n in 0..=u8::try_from(FREE).unwrap() {
            throttle.begin("ada", address(n)).unwrap();
        }
        assert!(throttle.begin("ada", address(99)).is_err());
        for n in 0..=FREE {
            throttle.begin(&format!("user-{n}"), address(50)).unwrap();
        }
        assert!(throttle.begin("bob", address(50)).is_err());
        assert!(throttle.begin("bob", address(51)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_signed_in_from_an_address_is_not_kept_out_there_by_a_guesser() {
        let throttle = Throttle::default();
        let attempt = throttle.begin("ada", address(1)).unwrap();
        throttle.right(attempt);
        for n in 0..20 {
            let _ = throttle.begin("ada", address(n + 2));
            let _ = throttle.begin("bob", address(1));
        }
        assert!(throttle.begin("ada", address(200)).is_err());
        assert!(throttle.begin("ada", address(1)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn neighbours_in_one_network_count_as_one() {
        let throttle = Throttle::default();
        for n in 0..=u16::try_from(FREE).unwrap() {
            let neighbour = IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]);
            throttle.begin(&format!("user-{n}"), neighbour).unwrap();
        }
        assert!(throttle.begin("bob", IpAddr::from([0x2001, 0xdb8, 0, 1, 9, 9, 9, 9])).is_err());
        assert!(throttle.begin("bob", IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1])).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_the_slowest_is_kept() {
        let throttle = Throttle::default();
        for n in 0..=FREE {
            throttle.begin("ada", address(u8::try_from(n).unwrap())).unwrap();
        }
        for n in 0..MAX_REMEMBERED + 100 {
            let everywhere = IpAddr::V4(u32::try_from(n).unwrap().into());
            let _ = throttle.begin(&format!("user-{n}"), everywhere);
        }
        assert!(throttle.records().len() <= MAX_REMEMBERED);
        assert!(throttle.begin("ada", address(99)).is_err());
    }
}
