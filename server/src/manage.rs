//! `lockkeeper user` and `lockkeeper token`: the files of users and of tokens, changed by whoever may write them. A running
//! server takes the changes up by itself.

use std::io::{BufRead as _, IsTerminal as _, Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};

use crate::access::tokens::{Order, Tokens, TokensFile};
use crate::access::totp;
use crate::access::users::{Users, UsersFile};
use crate::access::{Right, Secret};
use crate::clock;
use crate::config::AccessFiles;

/// The longest password that is read from standard input, in bytes: the longest allowed one in the widest characters.
const MAX_PASSWORD_BYTES: u64 = 1024;

/// Which file is meant.
#[derive(Debug, Args)]
pub struct Files {
    /// The configuration file that names it; without it, `lockkeeper.toml` in the working directory.
    #[arg(long, value_name = "FILE", env = "LOCKKEEPER_CONFIG")]
    config: Option<PathBuf>,

    /// The file itself, whatever the configuration says.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// `lockkeeper user …`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Adds somebody. The password is asked for, or read from standard input.
    Add {
        /// The name to sign in with.
        name: String,
        /// A group of theirs; roles are given to groups. Give it again for a second one.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        #[command(flatten)]
        files: Files,
    },
    /// Removes somebody and ends their sessions.
    Remove {
        /// The name.
        name: String,
        #[command(flatten)]
        files: Files,
    },
    /// Lists everybody.
    List {
        #[command(flatten)]
        files: Files,
    },
    /// Gives somebody a second factor and prints what their authenticator app takes, once; or takes it away, for whoever
    /// lost theirs. Ends their sessions.
    Totp {
        /// The name.
        name: String,
        /// Take it away: the password alone is enough again.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        files: Files,
    },
    /// Gives somebody another password and ends their sessions. It is asked for, or read from standard input.
    Passwd {
        /// The name.
        name: String,
        #[command(flatten)]
        files: Files,
    },
}

/// `lockkeeper token …`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Makes a token and prints it, once.
    New {
        /// What it is called in logs and in the audit.
        #[arg(long)]
        name: String,
        /// A right that it is narrowed to. Give it again for a second one.
        #[arg(long = "right", value_name = "RIGHT", required = true, value_parser = right)]
        rights: Vec<Right>,
        /// A role that it has. Give it again for a second one; without any, it has all of them.
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// How long it is good for: `30d`, `12h`, `5m` or `90s`, at most 366 days.
        #[arg(long, value_name = "DURATION", default_value = "90d", value_parser = duration_ms)]
        expires: i64,
        #[command(flatten)]
        files: Files,
    },
    /// Lists all tokens, without what makes them work.
    List {
        #[command(flatten)]
        files: Files,
    },
    /// Ends a token now.
    Revoke {
        /// Its name.
        name: String,
        #[command(flatten)]
        files: Files,
    },
}

impl UserCommand {
    /// Does it. What was asked for goes to `out`.
    ///
    /// # Errors
    /// Says what is wrong with the name, the password or the file.
    pub fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let file = |files: &Files| files.choose("access.users_file", |files| files.users).map(UsersFile);
        match self {
            UserCommand::Add { name, groups, files } => {
                let file = file(&files)?;
                if Users::read(&file.0)?.get(&name).is_some() {
                    bail!("there is a user `{name}` already");
                }
                file.add(&name, &groups, &new_password(&name)?)?;
                writeln!(out, "added `{name}` to {}", file.0.display())?;
            }
            UserCommand::Remove { name, files } => {
                let file = file(&files)?;
                file.remove(&name)?;
                writeln!(out, "removed `{name}` from {}", file.0.display())?;
            }
            UserCommand::Passwd { name, files } => {
                let file = file(&files)?;
                if Users::read(&file.0)?.get(&name).is_none() {
                    bail!("there is no user `{}`", lockkeeper_model::words::shown(&name));
                }
                file.set_password(&name, &new_password(&name)?)?;
                writeln!(out, "changed the password of `{name}`")?;
            }
            UserCommand::Totp { name, remove, files } => {
                let file = file(&files)?;
                if remove {
                    file.set_totp(&name, None)?;
                    writeln!(out, "took the second factor of `{name}` away")?;
                } else {
                    let (secret, url) = totp::new_secret(&name).context("no second factor could be made")?;
                    file.set_totp(&name, Some(secret.clone()))?;
                    writeln!(out, "{}", url.expose())?;
                    eprintln!(
                        "`{name}` needs a code at each sign-in from now on. For the authenticator app: the URL, as a QR code, \
                         or the secret {} by hand. Whoever knows it can make the codes.",
                        secret.expose()
                    );
                }
            }
            UserCommand::List { files } => {
                for user in Users::read(&file(&files)?.0)?.iter() {
                    let factor = if user.has_second_factor() { "\tsecond factor" } else { "" };
                    writeln!(out, "{}\t{}{factor}", user.name, user.groups.join(", "))?;
                }
            }
        }
        Ok(())
    }
}

impl TokenCommand {
    /// Does it. What was asked for goes to `out`, and nothing else: a new token can be piped on.
    ///
    /// # Errors
    /// Says what is wrong with the name, the roles or the file.
    pub fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let file = |files: &Files| files.choose("access.tokens_file", |files| files.tokens).map(TokensFile);
        match self {
            TokenCommand::New { name, rights, roles, expires, files } => {
                let file = file(&files)?;
                let known = files.read()?.roles;
                if let Some(role) = roles.iter().find(|role| !known.is_empty() && !known.contains(role)) {
                    let role = lockkeeper_model::words::shown(role);
                    bail!("there is no role `{role}`, expected one of {}", known.join(", "));
                }
                let roles = (!roles.is_empty()).then_some(roles);
                let token = file.make(Order { name, roles, rights, life_ms: expires }, clock::now())?;
                writeln!(out, "{}", token.expose())?;
                eprintln!("This is the only copy: {} keeps a hash of it.", file.0.display());
            }
            TokenCommand::List { files } => {
                let now = clock::now();
                for token in Tokens::read(&file(&files)?.0)?.iter() {
                    let rights = token.rights().iter().map(|right| right.word()).collect::<Vec<_>>().join(", ");
                    let roles = token.roles.as_ref().map_or_else(|| "all roles".to_owned(), |roles| roles.join(", "));
                    let until = if token.is_good(now) { "until" } else { "expired" };
                    writeln!(out, "{}\t{rights}\t{roles}\t{until} {}", token.name, token.expires_at)?;
                }
            }
            TokenCommand::Revoke { name, files } => {
                let file = file(&files)?;
                file.revoke(&name)?;
                writeln!(out, "revoked `{name}`")?;
            }
        }
        Ok(())
    }
}

impl Files {
    fn read(&self) -> anyhow::Result<AccessFiles> {
        match (&self.file, &self.config) {
            // Whoever names the file needs no configuration.
            (Some(_), None) if !Path::new(crate::config::DEFAULT_FILE).exists() => Ok(AccessFiles::default()),
            (_, config) => Ok(AccessFiles::read(config.as_deref())?),
        }
    }

    fn choose(&self, key: &str, of: impl Fn(AccessFiles) -> Option<PathBuf>) -> anyhow::Result<PathBuf> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        of(self.read()?).with_context(|| {
            format!(
                "no file is named: give `--file FILE`, or set `{key}` in lockkeeper.toml and name that by `--config`"
            )
        })
    }
}

/// From the terminal, unseen and twice; or a line of standard input.
fn new_password(name: &str) -> anyhow::Result<Secret> {
    if std::io::stdin().is_terminal() {
        let ask = |what: String| rpassword::prompt_password(what).context("could not read the password");
        let password = ask(format!("New password of {name}: "))?;
        if ask("Once more: ".to_owned())? != password {
            bail!("the two passwords are not the same");
        }
        return Ok(Secret::new(password));
    }
    let mut line = String::new();
    let read = std::io::stdin().lock().take(MAX_PASSWORD_BYTES + 1).read_line(&mut line);
    read.context("could not read the password from standard input")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("there is no password on standard input");
    }
    Ok(Secret::new(password))
}

fn right(word: &str) -> Result<Right, String> {
    Right::of_word(word).ok_or_else(|| format!("expected one of {}", Right::ALL.map(Right::word).join(", ")))
}

fn duration_ms(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms = match &text[digits.len()..] {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("expected a duration such as `30d`, `12h`, `5m` or `90s`".to_owned()),
    };
    let number: i64 = digits.parse().map_err(|_| "expected a whole number before the unit".to_owned())?;
    number.checked_mul(unit_ms).ok_or_else(|| "that is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration_ms("30d"), Ok(30 * 86_400_000));
        assert_eq!(duration_ms("90s"), Ok(90_000));
        for text in ["", "30", "d", "3 d", "-", "1w", "99999999999999d"] {
            assert!(duration_ms(text).is_err(), "{text}");
        }
    }
}
