//! API tokens: random, kept as hashes, narrowed to rights, ending by themselves.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lockkeeper_model::{Time, words};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::names::{BadName, checked_name};
use super::store::{self, StoreError};
use super::{Right, Secret};

/// What a token begins with, so that people and scanners for leaked secrets know one when they see it.
pub const TOKEN_PREFIX: &str = "lkt_";

/// Random bytes of a token. So many that nobody guesses one, which is why a plain hash of it may be kept: the slow
/// hashes are for what people can remember.
const TOKEN_BYTES: usize = 32;

/// The longest that a token may be good for, in milliseconds: what was forgotten ends within a year.
pub const MAX_LIFE_MS: i64 = 366 * DAY_MS;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

const EXPECTED: &str = "`[[token]]` tables, as `lockkeeper token` writes them";
const HEAD: &str =
    "# Lockkeeper's API tokens. `lockkeeper token` changes this file; the server reads it anew by itself.";

/// A token, without what makes it work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// What it is called in logs and in the audit.
    pub name: String,
    /// The SHA-256 of the whole token, in hexadecimal.
    sha256: String,
    /// The roles that it has; `None`: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// Words of the rights that it is narrowed to.
    rights: Vec<String>,
    /// When it was made.
    pub created_at: Time,
    /// When it ends.
    pub expires_at: Time,
}

impl Token {
    /// The rights that it is narrowed to.
    #[must_use]
    pub fn rights(&self) -> Vec<Right> {
        self.rights.iter().filter_map(|word| Right::of_word(word)).collect()
    }

    /// Whether it still works.
    #[must_use]
    pub fn is_good(&self, now: Time) -> bool {
        now < self.expires_at
    }
}

/// All tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    #[serde(default)]
    token: Vec<Token>,
}

/// Why a token could not be made or revoked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A name that cannot be one.
    #[error("{0}")]
    Name(BadName),
    /// There is one of that name.
    #[error("there is a token `{0}` already; revoke it first or choose another name")]
    Known(String),
    /// There is none of that name.
    #[error("there is no token `{0}`")]
    Unknown(String),
    /// A life that is too short or too long.
    #[error("a token may be good for 1 s to {days} d, not for {asked}", days = MAX_LIFE_MS / DAY_MS, asked = words::duration(*.0))]
    Life(i64),
}

/// What a new token may do, and for how long.
#[derive(Clone, Debug)]
pub struct Order {
    /// What it is to be called.
    pub name: String,
    /// The roles that it is to have; `None`: all of them.
    pub roles: Option<Vec<String>>,
    /// The rights that it is narrowed to.
    pub rights: Vec<Right>,
    /// How long it is to be good for, in milliseconds.
    pub life_ms: i64,
}

impl Tokens {
    /// Reads the file; one that is not there holds none.
    ///
    /// # Errors
    /// Names the file, the line and what is expected.
    pub fn read(file: &Path) -> Result<Tokens, StoreError> {
        let tokens: Tokens = store::read(file, EXPECTED)?.unwrap_or_default();
        for token in &tokens.token {
            if let Some(word) = token.rights.iter().find(|word| Right::of_word(word).is_none()) {
                let because = format!("`{}` of `{}` is no right", words::shown(word), words::shown(&token.name));
                return Err(StoreError::form(file, because));
            }
        }
        Ok(tokens)
    }

    /// The token that is this text, whether or not it is still good.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<&Token> {
        if !text.starts_with(TOKEN_PREFIX) {
            return None;
        }
        // How long it takes to tell two hashes apart says nothing about the token that one of them is of.
        let sha256 = fingerprint(text);
        self.token.iter().find(|token| token.sha256 == sha256)
    }

    /// All, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Token> {
        self.token.iter()
    }
}

/// The file of tokens, to be changed.
#[derive(Clone, Debug)]
pub struct TokensFile(pub PathBuf);

impl TokensFile {
    /// Makes a token. What is returned is the only copy of it.
    ///
    /// # Errors
    /// When the order cannot be carried out, or the file cannot be written.
    pub fn make(&self, order: Order, now: Time) -> Result<Secret, TokenError> {
        let name = checked_name(&order.name).map_err(TokenError::Name)?;
        if !(1_000..=MAX_LIFE_MS).contains(&order.life_ms) {
            return Err(TokenError::Life(order.life_ms));
        }
        let text = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; TOKEN_BYTES]>()));
        let token = Token {
            name: name.clone(),
            sha256: fingerprint(&text),
            roles: order.roles,
            rights: order.rights.iter().map(|right| right.word().to_owned()).collect(),
            created_at: now,
            expires_at: now.plus(order.life_ms),
        };
        self.change(|tokens| {
            // What has ended keeps no name taken.
            tokens.token.retain(|known| known.name != name || known.is_good(now));
            if tokens.token.iter().any(|known| known.name == name) {
                return Err(TokenError::Known(name));
            }
            tokens.token.push(token);
            Ok(())
        })?;
        Ok(Secret::new(text))
    }

    /// Ends a token now.
    ///
    /// # Errors
    /// When there is none of that name, or the file cannot be written.
    pub fn revoke(&self, name: &str) -> Result<(), TokenError> {
        self.change(|tokens| {
            let before = tokens.token.len();
            tokens.token.retain(|token| token.name != name);
            if tokens.token.len() == before { Err(TokenError::Unknown(words::shown(name))) } else { Ok(()) }
        })
    }

    fn change(&self, change: impl FnOnce(&mut Tokens) -> Result<(), TokenError>) -> Result<(), TokenError> {
        store::change(&self.0, EXPECTED, HEAD, |tokens: Option<Tokens>| {
            let mut tokens = tokens.unwrap_or_default();
            change(&mut tokens)?;
            Ok((tokens, ()))
        })
    }
}

fn fingerprint(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::testing::Folder;

    const NOW: Time = Time(1_700_000_000_000);

    fn order(name: &str) -> Order {
        Order { name: name.to_owned(), roles: None, rights: vec![Right::View, Right::Trace], life_ms: 30 * DAY_MS }
    }

    #[test]
    fn a_token_is_found_by_its_text_which_is_not_in_the_file() {
        let folder = Folder::new("tokens");
        let file = TokensFile(folder.file("tokens.toml"));
        let secret = file.make(order("ci"), NOW).unwrap();
        assert_eq!(secret.expose().len(), TOKEN_PREFIX.len() + 43);
        assert!(!std::fs::read_to_string(&file.0).unwrap().contains(&secret.expose()[TOKEN_PREFIX.len()..]));
        let tokens = Tokens::read(&file.0).unwrap();
        let token = tokens.find(secret.expose()).unwrap();
        assert_eq!((token.name.as_str(), token.rights()), ("ci", vec![Right::View, Right::Trace]));
        for other in ["", "lkt_", &format!("{}x", secret.expose()), &token.sha256] {
            assert_eq!(tokens.find(other), None);
        }
    }

    #[test]
    fn a_token_ends_by_itself_and_its_name_is_free_then() {
        let folder = Folder::new("tokens-end");
        let file = TokensFile(folder.file("tokens.toml"));
        let secret = file.make(order("ci"), NOW).unwrap();
        let tokens = Tokens::read(&file.0).unwrap();
        let token = tokens.find(secret.expose()).unwrap();
        let end = NOW.plus(30 * DAY_MS);
        assert!(token.is_good(end.plus(-1)) && !token.is_good(end));
        assert_eq!(file.make(order("ci"), NOW), Err(TokenError::Known("ci".to_owned())));
        file.make(order("ci"), end).unwrap();
        assert_eq!(Tokens::read(&file.0).unwrap().find(secret.expose()), None);
    }

    #[test]
    fn a_revoked_token_is_gone() {
        let folder = Folder::new("tokens-revoke");
        let file = TokensFile(folder.file("tokens.toml"));
        let secret = file.make(order("ci"), NOW).unwrap();
        file.revoke("ci").unwrap();
        assert_eq!(Tokens::read(&file.0).unwrap().find(secret.expose()), None);
        assert_eq!(file.revoke("ci"), Err(TokenError::Unknown("ci".to_owned())));
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let folder = Folder::new("tokens-bad");
        let file = TokensFile(folder.file("tokens.toml"));
        assert_eq!(file.make(Order { life_ms: 0, ..order("ci") }, NOW), Err(TokenError::Life(0)));
        let long = MAX_LIFE_MS + 1;
        assert_eq!(file.make(Order { life_ms: long, ..order("ci") }, NOW), Err(TokenError::Life(long)));
        assert!(matches!(file.make(order("a b"), NOW), Err(TokenError::Name(_))));
        file.make(order("ci"), NOW).unwrap();
        let text = std::fs::read_to_string(&file.0).unwrap();
        std::fs::write(&file.0, text.replace("trace", "fly")).unwrap();
        let said = Tokens::read(&file.0).unwrap_err().to_string();
        assert!(said.ends_with("`fly` of `ci` is no right"), "{said}");
    }
}
