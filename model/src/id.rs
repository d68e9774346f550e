use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::words;

/// The public name of a lock within its source.
///
/// For Redis it is the key where that is UTF-8 and does not begin with `b64:`; otherwise `b64:` and the unpadded
/// base64url of the bytes. Both directions are exact, so no two keys share an id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
#[serde(transparent)]
pub struct LockId(String);

const BINARY_PREFIX: &str = "b64:";

/// Why a text is not the id of any lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockIdError(String);

impl fmt::Display for LockIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` begins with `b64:` but the rest is not unpadded base64url", words::shown(&self.0))
    }
}

impl std::error::Error for LockIdError {}

impl LockId {
    /// The id of the lock stored under `key`.
    #[must_use]
    pub fn of_key(key: &[u8]) -> LockId {
        match std::str::from_utf8(key) {
            Ok(text) if !text.starts_with(BINARY_PREFIX) => LockId(text.to_owned()),
            _ => LockId(format!("{BINARY_PREFIX}{}", URL_SAFE_NO_PAD.encode(key))),
        }
    }

    /// Takes an id as a client sent it.
    ///
    /// # Errors
    /// When it claims to be binary and is not base64url.
    pub fn parse(text: &str) -> Result<LockId, LockIdError> {
        let id = LockId(text.to_owned());
        id.key()?;
        Ok(id)
    }

    /// The key as bytes.
    ///
    /// # Errors
    /// When it claims to be binary and is not base64url.
    pub fn key(&self) -> Result<Vec<u8>, LockIdError> {
        match self.0.strip_prefix(BINARY_PREFIX) {
            None => Ok(self.0.clone().into_bytes()),
            Some(rest) => URL_SAFE_NO_PAD.decode(rest).map_err(|_| LockIdError(self.0.clone())),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A token in both public forms: text where it is UTF-8, and always standard base64.
#[must_use]
pub fn encode_token(token: &[u8]) -> (Option<String>, String) {
    (std::str::from_utf8(token).ok().map(str::to_owned), STANDARD.encode(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_keys_are_their_own_id_and_others_are_marked() {
        assert_eq!(LockId::of_key(b"lock:stock:4711").as_str(), "lock:stock:4711");
        assert_eq!(LockId::of_key(b"b64:x").as_str(), "b64:YjY0Ong");
        assert_eq!(LockId::of_key(&[0xff, 0x00]).as_str(), "b64:_wA");
        assert!(LockId::parse("b64:***").is_err());
    }

    proptest! {
        #[test]
        fn every_key_comes_back_from_its_id(key in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(LockId::of_key(&key).key().unwrap(), key);
        }
    }
}
