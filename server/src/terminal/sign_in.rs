//! Signing in for the length of one command.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, SET_COOKIE};
use serde_json::json;

use super::exit::{Exit, Trouble};
use super::link::{ANSWER_TIMEOUT, Link, secret_of};
use super::words::whole;
use crate::access::Secret;

/// Begins a session. Returns the cookie to send with each request.
pub(super) async fn begin(link: &Link, name: &str, password_file: Option<&Path>) -> Result<Secret, Trouble> {
    let is_attended = io::stdin().is_terminal();
    let password = match password_file {
        Some(file) => secret_of("--password-file", file)?,
        None if is_attended => Secret::new(asked(&format!("Password of {}: ", whole(name)))?),
        None => {
            let text = "nobody can be asked for the password here: `--password-file` is needed";
            return Err(Trouble::new(Exit::Usage, text));
        }
    };
    let code = match password_file.is_none() {
        true => asked("Code, if you use an authenticator app (otherwise Enter): ")?,
        // Whatever reads its password from a file has nobody with an app beside it.
        false => String::new(),
    };
    let body = json!({ "name": name, "password": password.expose(), "code": code }).to_string();
    let request = link.request(Method::POST, &["session"], &[]).header(CONTENT_TYPE, "application/json").body(body);
    let response = link.open(request, ANSWER_TIMEOUT).await?;
    let cookie = response.headers().get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok()?.split(';').next());
    cookie
        .map(Secret::new)
        .ok_or_else(|| Trouble::new(Exit::CouldNot, format!("{} let nobody in and did not say why", link.address())))
}

fn asked(what: &str) -> Result<String, Trouble> {
    rpassword::prompt_password(what)
        .map_err(|error| Trouble::new(Exit::CouldNot, format!("the terminal could not be asked: {error}")))
}
