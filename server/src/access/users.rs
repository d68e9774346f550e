//! Local users: a file of names, groups and hashes of passwords.

use std::path::{Path, PathBuf};

use lockkeeper_model::words;
use serde::{Deserialize, Serialize};

use super::names::{BadName, checked_name};
use super::store::{self, StoreError};
use super::{Secret, password, totp};

const EXPECTED: &str =
    "`[[user]]` tables with `name`, `groups`, `password` and perhaps `totp`, as `lockkeeper user` writes them";
const HEAD: &str =
    "# Lockkeeper's local users. `lockkeeper user` changes this file; the server reads it anew by itself.";

/// Somebody who signs in with a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The name to sign in with.
    pub name: String,
    /// Their groups, which roles are given to.
    #[serde(default)]
    pub groups: Vec<String>,
    /// The hash of the password.
    pub(super) password: Secret,
    /// The secret of their second factor, in base32; `None`: they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) totp: Option<Secret>,
}

/// Everybody in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    #[serde(default)]
    user: Vec<User>,
}

/// Why a user could not be added or changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The password.
    #[error(transparent)]
    Password(#[from] password::BadPassword),
    /// A name that cannot be one.
    #[error("{0}")]
    Name(BadName),
    /// There is one of that name.
    #[error("there is a user `{0}` already")]
    Known(String),
    /// There is none of that name.
    #[error("there is no user `{0}`")]
    Unknown(String),
    /// Somebody else changed them meanwhile.
    #[error("`{0}` was changed by somebody else meanwhile")]
    Changed(String),
}

impl Users {
    /// Reads the file; one that is not there holds nobody.
    ///
    /// # Errors
    /// Names the file, the line and what is expected.
    pub fn read(file: &Path) -> Result<Users, StoreError> {
        let users: Users = store::read(file, EXPECTED)?.unwrap_or_default();
        for (at, user) in users.user.iter().enumerate() {
            checked_name(&user.name).map_err(|error| StoreError::form(file, error.to_string()))?;
            if users.user[..at].iter().any(|other| other.name == user.name) {
                return Err(StoreError::form(file, format!("there are two users `{}`", user.name)));
            }
            if !password::is_hash(&user.password) {
                let because = format!("the `password` of `{}` is not an argon2id hash", user.name);
                return Err(StoreError::form(file, because));
            }
            if user.totp.as_ref().is_some_and(|secret| !totp::is_secret(secret)) {
                let because = format!("the `totp` of `{}` is not a secret in base32", user.name);
                return Err(StoreError::form(file, because));
            }
        }
        Ok(users)
    }

    /// Somebody of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&User> {
        self.user.iter().find(|user| user.name == name)
    }

    fn known(&mut self, name: &str) -> Result<&mut User, UserError> {
        let user = self.user.iter_mut().find(|user| user.name == name);
        user.ok_or_else(|| UserError::Unknown(words::shown(name)))
    }

    /// Everybody, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.user.iter()
    }
}

impl User {
    /// Whether they need a code beside their password.
    #[must_use]
    pub fn has_second_factor(&self) -> bool {
        self.totp.is_some()
    }
}

/// The file of users, to be changed.
#[derive(Clone, Debug)]
pub struct UsersFile(pub PathBuf);

impl UsersFile {
    /// Adds somebody.
    ///
    /// # Errors
    /// When the name or the password cannot be used, the name is taken, or the file cannot be written.
    pub fn add(&self, name: &str, groups: &[String], password: &Secret) -> Result<(), UserError> {
        let name = checked_name(name).map_err(UserError::Name)?;
        let groups =
            groups.iter().map(|group| checked_name(group)).collect::<Result<_, _>>().map_err(UserError::Name)?;
        let password = password::hash(&name, password)?;
        self.change(|users| match users.get(&name) {
            Some(_) => Err(UserError::Known(name)),
            None => {
                users.user.push(User { name, groups, password, totp: None });
                Ok(())
            }
        })
    }

    /// Removes somebody. Their sessions end with it.
    ///
    /// # Errors
    /// When there is nobody of that name, or the file cannot be written.
    pub fn remove(&self, name: &str) -> Result<(), UserError> {
        self.change(|users| {
            let before = users.user.len();
            users.user.retain(|user| user.name != name);
            if users.user.len() == before { Err(UserError::Unknown(words::shown(name))) } else { Ok(()) }
        })
    }

    /// Gives somebody another password. Their sessions end with it.
    ///
    /// # Errors
    /// When there is nobody of that name, the password cannot be used, or the file cannot be written.
    pub fn set_password(&self, name: &str, password: &Secret) -> Result<(), UserError> {
        let hash = password::hash(name, password)?;
        self.change(|users| {
            users.known(name)?.password = hash;
            Ok(())
        })
    }

    /// Gives this user another password, if they are still exactly as they were. Returns them as they are then.
    ///
    /// # Errors
    /// When they are not, the password cannot be used, or the file cannot be written.
    pub fn replace_password(&self, was: &User, password: &Secret) -> Result<User, UserError> {
        let hash = password::hash(&was.name, password)?;
        self.change(|users| match users.known(&was.name)? {
            user if user == was => {
                user.password = hash;
                Ok(user.clone())
            }
            _ => Err(UserError::Changed(words::shown(&was.name))),
        })
    }

    /// Gives this user a second factor or takes it away, if they are still exactly as they were. Returns them as they are
    /// then.
    ///
    /// # Errors
    /// When they are not, or the file cannot be written.
    pub fn replace_totp(&self, was: &User, secret: Option<Secret>) -> Result<User, UserError> {
        self.change(|users| match users.known(&was.name)? {
            user if user == was => {
                user.totp = secret;
                Ok(user.clone())
            }
            _ => Err(UserError::Changed(words::shown(&was.name))),
        })
    }

    /// Gives somebody a second factor, or takes it away. Their sessions end with it.
    ///
    /// # Errors
    /// When there is nobody of that name, or the file cannot be written.
    pub fn set_totp(&self, name: &str, secret: Option<Secret>) -> Result<(), UserError> {
        self.change(|users| {
            users.known(name)?.totp = secret;
            Ok(())
        })
    }

    fn change<R>(&self, change: impl FnOnce(&mut Users) -> Result<R, UserError>) -> Result<R, UserError> {
        store::change(&self.0, EXPECTED, HEAD, |users: Option<Users>| {
            let mut users = users.unwrap_or_default();
            let result = change(&mut users)?;
            Ok((users, result))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::access::testing::Folder;

    fn password() -> Secret {
        Secret::new("correct horse battery")
    }

    #[test]
    fn a_user_is_added_changed_and_removed() {
        let folder = Folder::new("users");
        let file = UsersFile(folder.file("users.toml"));
        assert_eq!(Users::read(&file.0).unwrap(), Users::default());
        file.add("ada", &["oncall".to_owned()], &password()).unwrap();
        file.add("bob@example.org", &[], &password()).unwrap();
        assert_eq!(file.add("ada", &[], &password()), Err(UserError::Known("ada".to_owned())));
        let users = Users::read(&file.0).unwrap();
        assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["ada", "bob@example.org"]);
        assert_eq!(users.get("ada").unwrap().groups, ["oncall"]);
        let before = users.get("ada").unwrap().password.clone();
        file.set_password("ada", &Secret::new("another horse entirely")).unwrap();
        assert_ne!(Users::read(&file.0).unwrap().get("ada").unwrap().password, before);
        file.remove("ada").unwrap();
        assert_eq!(Users::read(&file.0).unwrap().get("ada"), None);
        assert_eq!(file.remove("ada"), Err(UserError::Unknown("ada".to_owned())));
        assert_eq!(file.set_password("ada", &password()), Err(UserError::Unknown("ada".to_owned())));
    }

    #[test]
    fn the_file_is_closed_to_others_and_nothing_is_left_beside_it() {
        let folder = Folder::new("users-mode");
        let file = UsersFile(folder.file("users.toml"));
        file.add("ada", &[], &password()).unwrap();
        file.add("bob", &[], &password()).unwrap();
        assert_eq!(std::fs::metadata(&file.0).unwrap().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_without_its_content() {
        let folder = Folder::new("users-bad");
        let file = folder.file("users.toml");
        for (text, line) in [
            ("[[user]]\nname = \"ada\"\npassword = [\"hunter2\"]\n", Some(3)),
            ("[[user]]\nname = \"ada\"\npassword = \"hunter2\n", Some(3)),
            ("[[user]]\nname = \"ada\"\npassword = \"hunter2\"\n", None),
            ("[[user]]\nname = \"ada\"\nadmin = true\npassword = \"hunter2\"\n", Some(3)),
            ("[[user]]\nname = \"ada\"\ntotp = \"hunter2\"\npassword = \"HASH\"\n", None),
            ("[[user]]\nname = \"a da\"\npassword = \"hunter2\"\n", None),
        ] {
            let hash = password::hash("ada", &password()).unwrap();
            std::fs::write(&file, text.replace("HASH", hash.expose())).unwrap();
            let error = Users::read(&file).unwrap_err();
            assert!(matches!(&error, StoreError::Form { line: at, .. } if *at == line), "{text}: {error:?}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}
