//! What goes wrong with a Redis, in words for the person who watches. No address and no credential is in them.

use fred::error::{Error, ErrorKind};
use lockkeeper_model::words;

/// What is wrong, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) problem: String,
    pub(crate) hint: Option<String>,
}

impl Trouble {
    pub(crate) fn new(problem: impl Into<String>, hint: impl Into<String>) -> Trouble {
        Trouble { problem: problem.into(), hint: Some(hint.into()) }
    }

    /// No node of the cluster shows a key.
    pub(crate) fn cluster_down() -> Trouble {
        Trouble::new(
            "the cluster says that it is down: its nodes refuse to read keys",
            "`CLUSTER INFO` says why; `cluster-require-full-coverage no` would let the rest go on",
        )
    }

    /// Says what an error of the client means.
    pub(crate) fn of(error: &Error) -> Trouble {
        let details = error.details();
        let said = |word: &str| details.contains(word);
        if let Some(command) = refused_command(error) {
            return Trouble::new(
                format!("the credential may not run `{command}`"),
                format!("grant it: ACL SETUSER <user> {}", rule(&command)),
            );
        }
        match error.kind() {
            ErrorKind::Auth if said("NOAUTH") || said("without any password") => Trouble::new(
                "Redis wants a password and none is configured, or it has none and one is configured",
                "put the user and the password into the URL: redis://user:password@host:port",
            ),
            ErrorKind::Auth => Trouble::new(
                "Redis refused the user name or the password",
                "check the credentials in the URL; they are never shown here",
            ),
            _ if said("NOAUTH") => Trouble::new(
                "Redis wants a password and none is configured",
                "put the user and the password into the URL: redis://user:password@host:port",
            ),
            _ if said("WRONGPASS") => Trouble::new(
                "Redis refused the user name or the password",
                "check the credentials in the URL; they are never shown here",
            ),
            _ if said("NOPROTO") || said("unknown command") && (said("HELLO") || said("hello")) => {
                Trouble::new("this Redis is too old: it does not speak RESP3", "Lockkeeper needs Redis 6.2 or later")
            }
            _ if said("LOADING") => {
                Trouble::new("Redis is loading its data set", "locks are shown as soon as it has finished")
            }
            _ if said("DENIED") && said("protected mode") => Trouble::new(
                "Redis is in protected mode and refuses connections from other hosts",
                "give it a password or bind it to this network",
            ),
            _ if said("max number of clients") => {
                Trouble::new("Redis has no room for another connection", "raise its `maxclients`")
            }
            ErrorKind::Tls => Trouble::new(
                format!("TLS cannot be spoken: {}", words::shown(details)),
                "see `tls` under the source in lockkeeper.toml",
            ),
            _ if said("UnknownIssuer") || said("BadSignature") => Trouble::new(
                "the certificate of Redis is not signed by an authority that is trusted here",
                "name the authority's certificate: tls = { ca = \"…\" }",
            ),
            _ if said("CertificateRequired") || said("certificate required") => Trouble::new(
                "Redis wants a certificate from its clients, and none is configured",
                "name it and its key: tls = { cert = \"…\", key = \"…\" }",
            ),
            _ if said("NotValidForName") => Trouble::new(
                "the certificate of Redis is for another name than the one that was dialled",
                "name the one that it bears: tls = { server_name = \"…\" }",
            ),
            _ if said("InvalidCertificate(Expired") => Trouble::new(
                "the certificate of Redis has expired",
                "renew it; or see that this machine's clock is right",
            ),
            _ if said("InvalidCertificate(") => Trouble::new(
                format!("the certificate of Redis is not accepted: {}", within(details, "InvalidCertificate(")),
                "renew it, or see `tls` under the source in lockkeeper.toml",
            ),
            _ if said("AlertReceived(") => Trouble::new(
                format!("Redis refused to speak TLS with us: {}", within(details, "AlertReceived(")),
                "see that the certificate under `tls` is signed by an authority that Redis trusts",
            ),
            _ if said("InvalidContentType") || said("corrupt message") => Trouble::new(
                "what answers at this address does not speak TLS",
                "use the port for TLS, or the URL without it: redis://",
            ),
            ErrorKind::Cluster if said("CLUSTERDOWN") => Trouble::cluster_down(),
            ErrorKind::Cluster => Trouble::new(
                format!("the cluster does not serve this key now: {}", words::shown(details)),
                "slots are moving, or a primary is missing; try again when the source is live",
            ),
            ErrorKind::Timeout => Trouble::new(
                "Redis does not answer",
                "it is frozen, overloaded or cut off; the connection is tried again and again",
            ),
            _ if was_dropped(error) => {
                Trouble { problem: "the connection ended before an answer came".to_owned(), hint: None }
            }
            ErrorKind::IO | ErrorKind::Canceled => {
                Trouble { problem: format!("the connection failed: {}", calm(details)), hint: None }
            }
            ErrorKind::Protocol | ErrorKind::Parse => {
                Trouble::new("what answers at this address does not speak the protocol of Redis", "check host and port")
            }
            _ => Trouble { problem: format!("Redis answered: {}", words::shown(details)), hint: None },
        }
    }
}

/// The operating system's words without the numbers that mean nothing to a person.
fn calm(details: &str) -> String {
    // The client passes on the debug form of an error: `Os { code: 111, kind: …, message: "Connection refused" }`.
    let message = details.split("message: \"").nth(1).and_then(|rest| rest.split('"').next());
    let words = message.unwrap_or_else(|| details.split(" (os error").next().unwrap_or(details));
    if words.contains("close_notify") {
        // The library for TLS says in a paragraph that nobody said goodbye.
        return "connection closed".to_owned();
    }
    words::shown(words.trim_start_matches("IO Error: ").trim_end_matches('.').to_lowercase().as_str())
}

/// The TLS library's own word for what is wrong, which follows `opening`.
fn within(details: &str, opening: &str) -> String {
    let rest = details.split(opening).nth(1).unwrap_or_default();
    words::shown(rest.split([')', '(', ' ']).next().unwrap_or_default())
}

/// Stands for a command where keys are refused, not a command.
pub(crate) const NO_KEY: &str = "access to the keys";

/// The command that was refused for lack of permission, if that is what the error says.
pub(crate) fn refused_command(error: &Error) -> Option<String> {
    let details = error.details();
    if !details.starts_with("NOPERM") {
        return None;
    }
    if details.contains("keys") {
        return Some(NO_KEY.to_owned());
    }
    // Redis 6: "NOPERM this user has no permissions to run the 'scan' command or its subcommand"; 7 names the user, too.
    let command = details.split('\'').nth(1).unwrap_or("?");
    Some(command.replace('|', " ").to_ascii_uppercase())
}

/// The rule of an access control list that permits what was refused.
pub(super) fn rule(refused: &str) -> String {
    match refused {
        NO_KEY => "~<pattern of the keys>".to_owned(),
        command => format!("+{}", command.to_ascii_lowercase().replace(' ', "|")),
    }
}

/// Whether the user or the password was refused, or one is missing.
pub(super) fn is_of_credentials(error: &Error) -> bool {
    let said = |word: &str| error.details().contains(word);
    *error.kind() == ErrorKind::Auth || said("NOAUTH") || said("WRONGPASS")
}

/// Whether the error says that a key is, or may be, on another node of the cluster: nothing was done.
pub(crate) fn is_elsewhere(error: &Error) -> bool {
    ["MOVED ", "ASK ", "TRYAGAIN ", "CLUSTERDOWN "].iter().any(|word| error.details().starts_with(word))
}

/// Whether the client gave the command up with its connection, which it reports without a kind: it may have been sent.
pub(crate) fn was_dropped(error: &Error) -> bool {
    *error.kind() == ErrorKind::Unknown && error.details() == "channel closed"
}

/// Whether the connection itself is the trouble, as against one command on it.
pub(crate) fn is_of_connection(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::IO | ErrorKind::Canceled | ErrorKind::Timeout | ErrorKind::Protocol | ErrorKind::Parse
    ) || was_dropped(error)
        || error.details().starts_with("LOADING")
        || error.details().starts_with("NOAUTH")
}
