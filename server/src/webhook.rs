//! Posts something to somebody else's server until it is taken or cannot be: what the audit and the warnings share.
//!
//! No redirect is followed, nothing of an answer but its status is read, and no message of an error repeats the URL,
//! whose path is a password with many receivers.

use std::time::Duration;

use hmac::{Hmac, Mac as _};
use reqwest::StatusCode;
use sha2::Sha256;
use url::Url;

/// How patient a sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long the receiver may take for one message.
    pub answer: Duration,
    /// How often one message is sent at most.
    pub tries: u32,
    /// How long it waits before the second time; then twice as long each time. Each wait is shortened at random by up to
    /// half, so that senders that lost the same receiver do not come back together.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
}

impl Default for Pace {
    /// With the waits between, a receiver may be away for some two minutes.
    fn default() -> Pace {
        Pace {
            answer: Duration::from_secs(10),
            tries: 8,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
        }
    }
}

/// Sends messages.
#[derive(Clone, Debug)]
pub struct Sender {
    http: reqwest::Client,
    pace: Pace,
}

/// What came of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// How often it was sent.
    pub tries: u32,
    /// What the receiver answered last, or why it was not reached.
    pub says: String,
    /// How it ended.
    pub end: End,
}

/// How the sending of a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was taken.
    Taken,
    /// It was refused in a way that another try would not change.
    Refused,
    /// It was tried often enough.
    GivenUp,
}

impl Sender {
    /// One that is this patient.
    ///
    /// # Errors
    /// When TLS cannot be set up, with the reason.
    pub fn new(pace: Pace) -> Result<Sender, String> {
        let tls = crate::tls::TlsFiles::default().load().map_err(|error| error.to_string())?;
        let http = reqwest::Client::builder()
            .use_preconfigured_tls(tls)
            .timeout(pace.answer)
            // Who is told is configured, not chosen by whoever answers there.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("lockkeeper/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Sender { http, pace })
    }

    /// Posts a JSON body until it is taken or cannot be. `headers` are made anew for each time; `tried` is told after each
    /// that was in vain.
    pub async fn deliver(
        &self,
        url: &Url,
        body: &str,
        headers: impl Fn() -> Vec<(&'static str, String)>,
        mut tried: impl FnMut(u32, &str),
    ) -> Sent {
        let mut wait = self.pace.first_wait;
        let mut tries = 1;
        loop {
            let (says, end) = match self.send(url, body, headers()).await {
                Ok(status) if status.is_success() => (format!("it answered {status}"), Some(End::Taken)),
                // Asked again it would say the same.
                Ok(status) if !may_pass(status) => (format!("it answered {status}"), Some(End::Refused)),
                Ok(status) => (format!("it answered {status}"), None),
                Err(error) => (words_of(error), None),
            };
            match end {
                Some(end) => return Sent { tries, says, end },
                None if tries >= self.pace.tries => return Sent { tries, says, end: End::GivenUp },
                None => tried(tries, &says),
            }
            tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..=1.0))).await;
            (tries, wait) = (tries + 1, (wait * 2).min(self.pace.longest_wait));
        }
    }

    async fn send(
        &self,
        url: &Url,
        body: &str,
        headers: Vec<(&'static str, String)>,
    ) -> Result<StatusCode, reqwest::Error> {
        let mut request = self.http.post(url.clone()).header("content-type", "application/json").body(body.to_owned());
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(request.send().await?.status())
    }
}

/// The hexadecimal HMAC-SHA-256 of these parts, one after the other. `None` is impossible: an HMAC takes keys of every
/// length.
#[must_use]
pub fn sign(secret: &[u8], parts: &[&[u8]]) -> Option<String> {
    let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new_from_slice(secret).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}")))
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// The error with its causes, without the URL.
fn words_of(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text.push_str(&format!(": {deeper}"));
        cause = deeper.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_that_other_programs_compute() {
        // RFC 4231, test case 2.
        let whole = sign(b"Jefe", &[b"what do ya want for nothing?"]).unwrap();
        assert_eq!(whole, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert_eq!(sign(b"Jefe", &[b"what do ya ", b"want for nothing?"]).unwrap(), whole);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, again) in [
            (StatusCode::BAD_GATEWAY, true),
            (StatusCode::TOO_MANY_REQUESTS, true),
            (StatusCode::NOT_FOUND, false),
            (StatusCode::MOVED_PERMANENTLY, false),
        ] {
            assert_eq!(may_pass(status), again, "{status}");
        }
    }
}
