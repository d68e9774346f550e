//! Passwords: hashed with argon2id, and compared away from the threads that serve.

use std::ops::RangeInclusive;
use std::sync::Arc;

use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::Secret;

/// Memory that one comparison takes. This and the next two are the first of the equivalent settings that OWASP's
/// Password Storage Cheat Sheet recommends for argon2id.
const MEMORY_KIB: u32 = 19 * 1024;

/// Passes over the memory.
const PASSES: u32 = 2;

/// Lanes: one thread a comparison, so that the bound on comparisons is the bound on cores.
const LANES: u32 = 1;

/// Characters of a password. The least is that of OWASP ASVS 4.0, 2.1.1; the most bounds the work before hashing and
/// is what 2.1.2 asks to be allowed.
pub const PASSWORD_CHARS: RangeInclusive<usize> = 12..=128;

/// What a password's estimated strength must be at least, of 0 to 4: some hundred million guesses, which at the throttle's
/// pace are longer than anybody lives, and with a stolen hash some weeks of a machine.
const LEAST_STRENGTH: zxcvbn::Score = zxcvbn::Score::Three;

/// What everybody would think of first here, beside the own name.
const OBVIOUS: &[&str] = &["lockkeeper", "redis", "oncall"];

/// Comparisons at once: signing in must leave cores to watching.
const AT_ONCE: usize = 2;

/// Comparisons that may wait for those, a second's worth: whoever comes later is told to try again rather than queued.
const MAY_WAIT: usize = 32;

/// Why a new password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPassword {
    /// Too short or too long.
    #[error(
        "the password has {has} characters, expected {least} to {most}",
        has = .0, least = PASSWORD_CHARS.start(), most = PASSWORD_CHARS.end()
    )]
    Length(usize),
    /// It is among those that are tried first, or is put together from such.
    #[error(
        "the password is too easy to guess: it is a common one or follows from common words, names, dates or rows of \
         keys; four words that have nothing to do with each other are good"
    )]
    Guessable,
    /// The library refuses.
    #[error("the password could not be hashed")]
    Unhashed,
}

/// Too many comparisons are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

/// The hash of a new password for somebody of this name, in the PHC string format.
///
/// Common passwords are refused by an estimate rather than by a list of them: zxcvbn knows the 30,000 most common ones, 40,000
/// English words and names, and what people make of them by turning, repeating and replacing characters. That is more
/// than the 3,000 that OWASP ASVS 5.0, 6.2.4 asks for, of which few have the length that is demanded here anyway.
///
/// # Errors
/// When the password is too short, too long or too easy to guess.
pub fn hash(name: &str, password: &Secret) -> Result<Secret, BadPassword> {
    let chars = password.expose().chars().count();
    if !PASSWORD_CHARS.contains(&chars) {
        return Err(BadPassword::Length(chars));
    }
    let obvious: Vec<&str> = OBVIOUS.iter().copied().chain([name]).collect();
    if zxcvbn::zxcvbn(password.expose(), &obvious).score() < LEAST_STRENGTH {
        return Err(BadPassword::Guessable);
    }
    hashed(password).ok_or(BadPassword::Unhashed)
}

fn hashed(password: &Secret) -> Option<Secret> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = SaltString::generate(&mut OsRng);
    let hash = argon2.hash_password(password.expose().as_bytes(), &salt).ok()?;
    Some(Secret::new(hash.to_string()))
}

/// Whether a text is a hash that [`Verifier`] can compare with.
#[must_use]
pub fn is_hash(text: &Secret) -> bool {
    PasswordHash::new(text.expose()).is_ok_and(|hash| hash.algorithm == argon2::ARGON2ID_IDENT && hash.hash.is_some())
}

/// Compares passwords, a few at once.
#[derive(Clone, Debug)]
pub struct Verifier {
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// What the password of somebody unknown is compared with, so that both answers take the same work.
    nobody: Secret,
}

impl Verifier {
    /// A new one. Hashes once, which takes some ten milliseconds.
    #[must_use]
    pub fn new() -> Verifier {
        let nobody = hashed(&Secret::new(format!("{:032x}", rand::random::<u128>())));
        Verifier {
            running: Arc::new(Semaphore::new(AT_ONCE)),
            places: Arc::new(Semaphore::new(AT_ONCE + MAY_WAIT)),
            nobody: nobody.unwrap_or_else(|| Secret::new("")),
        }
    }

    /// Whether the password is the one of this hash; for `None`, somebody unknown, it never is and takes as long.
    ///
    /// # Errors
    /// When too many comparisons wait already.
    pub async fn verify(&self, hash: Option<Secret>, password: Secret) -> Result<bool, Busy> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.running).acquire_owned().await.map_err(|_| Busy)?;
        let nobody = self.nobody.clone();
        let compared = tokio::task::spawn_blocking(move || {
            // Kept to the end of the work, which goes on when nobody waits for it any more.
            let _kept = (place, turn);
            let is_known = hash.is_some();
            let hash = hash.unwrap_or(nobody);
            is_same(&hash, &password) && is_known
        });
        Ok(compared.await.unwrap_or(false))
    }
}

impl Default for Verifier {
    fn default() -> Verifier {
        Verifier::new()
    }
}

/// With the parameters that the hash names, so that older ones stay good when ours change.
fn is_same(hash: &Secret, password: &Secret) -> bool {
    PasswordHash::new(hash.expose())
        .is_ok_and(|hash| Argon2::default().verify_password(password.expose().as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_that_was_hashed_is_the_same() {
        let password = Secret::new("correct horse battery");
        let hash = hash("ada", &password).unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert!(is_hash(&hash) && !is_hash(&Secret::new("correct horse battery")));
        let verifier = Verifier::new();
        assert_eq!(verifier.verify(Some(hash.clone()), password.clone()).await, Ok(true));
        assert_eq!(verifier.verify(Some(hash), Secret::new("correct horse batterx")).await, Ok(false));
        assert_eq!(verifier.verify(None, password).await, Ok(false));
    }

    #[test]
    fn the_same_password_never_has_the_same_hash() {
        let password = Secret::new("correct horse battery");
        assert_ne!(hash("ada", &password), hash("ada", &password));
    }

    #[test]
    fn a_password_is_neither_short_nor_endless() {
        let of = |chars: usize| {
            hash("ada", &Secret::new("öyñßeqwçfzrkøbħ".repeat(9).chars().take(chars).collect::<String>())).map(|_| ())
        };
        assert_eq!(of(11), Err(BadPassword::Length(11)));
        assert_eq!(of(12), Ok(()));
        assert_eq!(of(129), Err(BadPassword::Length(129)));
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret");
    }

    #[test]
    fn what_is_tried_first_is_refused() {
        for common in [
            "123456789012",
            "qwertyuiop[]",
            "passwordpassword",
            "P@ssw0rd2024",
            "adaadaadaada",
            "lockkeeper-ada",
            "Lockkeeper2026",
            "administrator",
            "iloveyou1234",
            "aaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(hash("ada", &Secret::new(common)), Err(BadPassword::Guessable), "{common}");
        }
        assert!(hash("ada", &Secret::new("another horse entirely")).is_ok());
    }

    #[tokio::test]
    async fn beyond_some_that_wait_nobody_is_queued() {
        let verifier = Verifier::new();
        let hold = verifier.places.clone().acquire_many_owned((AT_ONCE + MAY_WAIT) as u32).await.unwrap();
        assert_eq!(verifier.verify(None, Secret::new("x")).await, Err(Busy));
        drop(hold);
        assert_eq!(verifier.verify(None, Secret::new("x")).await, Ok(false));
    }
}
