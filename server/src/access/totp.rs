//! The second factor of local users: codes of six digits that follow from a shared secret and the time (RFC 6238), as
//! every authenticator app makes them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use lockkeeper_model::Time;
use totp_rs::{Builder, Totp};

use super::Secret;

/// Random bytes of a secret: the 160 bits that RFC 4226, 4 recommends.
const SECRET_BYTES: usize = 20;

/// What apps show the codes under.
const ISSUER: &str = "Lockkeeper";

/// A new secret, in base32, and the `otpauth:` URL by which apps take it.
#[must_use]
pub fn new_secret(name: &str) -> Option<(Secret, Secret)> {
    let secret = totp_rs::Secret::from(rand::random::<[u8; SECRET_BYTES]>());
    let text = Secret::new(secret.to_base32());
    let url = url_of(name, &text)?;
    Some((text, url))
}

/// The `otpauth:` URL of a secret in base32; `None`: it is none.
#[must_use]
pub fn url_of(name: &str, secret: &Secret) -> Option<Secret> {
    let secret = totp_rs::Secret::try_from_base32(secret.expose()).ok()?;
    // A colon separates the two in the URL.
    let named = Builder::new()
        .with_secret(secret)
        .with_issuer(Some(ISSUER))
        .with_account_name(name.replace(':', " ").into_boxed_str());
    Some(Secret::new(named.build().ok()?.to_url().ok()?))
}

/// Whether codes can be made from this.
pub(super) fn is_secret(text: &Secret) -> bool {
    codes(text).is_some()
}

fn codes(secret: &Secret) -> Option<Totp> {
    Builder::new().with_secret(totp_rs::Secret::try_from_base32(secret.expose()).ok()?).build().ok()
}

/// Which codes were used: each is good once, as RFC 6238, 5.2 demands. One number for each user who ever signed in with one
/// during this run.
#[derive(Debug, Default)]
pub(super) struct UsedCodes(Mutex<HashMap<String, u64>>);

impl UsedCodes {
    /// Whether this is a code of now, half a minute before or after, that was not used yet, nor one after it. It is used
    /// with that.
    pub(super) fn spend(&self, name: &str, secret: &Secret, code: &Secret, now: Time) -> bool {
        let Ok(seconds) = u64::try_from(now.0 / 1_000) else { return false };
        let code: String = code.expose().chars().filter(|c| !c.is_whitespace()).collect();
        let Some(step) = codes(secret).and_then(|codes| codes.check(&code, seconds)) else { return false };
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if used.get(name).is_some_and(|&last| step <= last) {
            return false;
        }
        used.insert(name.to_owned(), step);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(secret: &Secret, at: Time) -> Secret {
        Secret::new(codes(secret).unwrap().generate(u64::try_from(at.0 / 1_000).unwrap()).to_string())
    }

    #[test]
    fn a_code_is_good_for_a_moment_and_once() {
        let used = UsedCodes::default();
        let (secret, url) = new_secret("ada").unwrap();
        assert!(url.expose().starts_with("otpauth://totp/Lockkeeper:ada?") && url.expose().contains(secret.expose()));
        let now = Time(1_795_231_700_000);
        let first = code(&secret, now);
        assert!(!used.spend("ada", &secret, &first, now.plus(90_000)), "it is over");
        assert!(used.spend("ada", &secret, &first, now.plus(25_000)), "a slow clock");
        assert!(!used.spend("ada", &secret, &first, now.plus(25_000)), "it was used");
        assert!(!used.spend("ada", &secret, &code(&secret, now.plus(-30_000)), now), "an older one is over with it");
        assert!(used.spend("bob", &secret, &first, now), "used by somebody else");
        let next = code(&secret, now.plus(30_000));
        let (left, right) = next.expose().split_at(3);
        assert!(used.spend("ada", &secret, &Secret::new(format!("{left} {right}")), now.plus(30_000)));
    }

    #[test]
    fn what_is_no_code_is_none() {
        let used = UsedCodes::default();
        let (secret, _) = new_secret("a:da").unwrap();
        for wrong in
            ["", "12345", "1234567", "abcdef", "-12345", "+12345", "\u{661}\u{662}\u{663}\u{661}\u{662}\u{663}"]
        {
            assert!(!used.spend("ada", &secret, &Secret::new(wrong), Time(1_795_231_700_000)), "{wrong}");
        }
        assert!(!is_secret(&Secret::new("hunter2")) && !is_secret(&Secret::new("MFRGG")), "too short");
    }
}
