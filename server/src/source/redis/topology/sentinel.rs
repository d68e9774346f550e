//! One primary that can move. Every sentinel is asked each second, and at once when it says that the primary moved; what
//! most of them say is believed when the server itself says that it is the primary.

use std::collections::BTreeMap;

use fred::clients::Client;
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, PubsubInterface};
use fred::types::{ClusterHash, CustomCommand, Value as Reply};
use lockkeeper_model::words;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::super::RedisConfig;
use super::super::connect::{self, For};
use super::super::endpoint::{Address, Endpoint};
use super::super::session::{field, info};
use super::super::trouble::{Trouble, is_of_connection, is_of_credentials, refused_command};
use super::{ASK_EVERY, View, in_time, show};

/// Answers that may wait to be counted.
const WAITING_ANSWERS: usize = 16;

/// On this channel a sentinel says that a primary moved.
const MOVED: &str = "+switch-master";

/// What one sentinel says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Primary(Address),
    /// It does not know a primary of that name.
    Unknown,
    Trouble(Trouble),
}

pub(super) async fn watch(config: &RedisConfig, sentinels: &[Address], primary: &str, views: &watch::Sender<View>) {
    let (answers, mut answered) = mpsc::channel(WAITING_ANSWERS);
    // They end with this.
    let mut asking = JoinSet::new();
    for (i, address) in sentinels.iter().enumerate() {
        let endpoint = config.sentinel(address.clone());
        asking.spawn(ask_on(i, endpoint, primary.to_owned(), answers.clone()));
    }
    drop(answers);
    let mut latest: Vec<Option<Answer>> = vec![None; sentinels.len()];
    let mut heard = Vec::with_capacity(WAITING_ANSWERS);
    // All that wait at once: to verify a primary that is frozen takes seconds, in which the sentinels may have found out.
    while answered.recv_many(&mut heard, WAITING_ANSWERS).await > 0 {
        for (i, answer) in heard.drain(..) {
            if let Some(place) = latest.get_mut(i) {
                *place = Some(answer);
            }
        }
        let current = views.borrow().clone();
        let known = current.primaries.first();
        let trouble = minority(&latest, sentinels);
        let view = match elect(&latest, known) {
            Some(elected) if Some(&elected) == known => View { primaries: vec![elected], trouble, slots: None },
            Some(elected) => match verify(config, &elected).await {
                Ok(()) => View { primaries: vec![elected], trouble, slots: None },
                // It is asked again with the next answer; until then the former is watched as far as it can be.
                Err(trouble) => View { trouble: Some(trouble), ..current },
            },
            None if latest.iter().all(Option::is_some) => {
                View { trouble: complaint(&latest, sentinels, primary, known), ..current }
            }
            // Not all have been heard yet.
            None => continue,
        };
        show(views, view);
    }
}

/// What most of the sentinels say; where as many say this as that, what is believed already.
fn elect(latest: &[Option<Answer>], known: Option<&Address>) -> Option<Address> {
    let mut votes: BTreeMap<&Address, usize> = BTreeMap::new();
    for answer in latest.iter().flatten() {
        if let Answer::Primary(address) = answer {
            *votes.entry(address).or_default() += 1;
        }
    }
    votes
        .into_iter()
        .max_by_key(|&(address, votes)| (votes, Some(address) == known))
        .map(|(address, _)| address.clone())
}

/// What keeps most of the sentinels from naming a primary. The others cannot decide on a failover, and may not hear of
/// one.
fn minority(latest: &[Option<Answer>], sentinels: &[Address]) -> Option<Trouble> {
    let all = sentinels.len();
    let silent = latest.iter().flatten().filter(|answer| !matches!(answer, Answer::Primary(_))).count();
    let name_it = all.saturating_sub(silent);
    if name_it > all / 2 {
        return None;
    }
    let Trouble { problem, hint } = first_trouble(latest, sentinels)
        .unwrap_or_else(|| Trouble { problem: "the others do not know it".to_owned(), hint: None });
    let problem =
        format!("only {name_it} of {all} sentinels name the primary, so a failover may go unnoticed: {problem}");
    Some(Trouble { problem, hint })
}

/// What is wrong with the first sentinel that did not answer as it should, and which that is.
fn first_trouble(latest: &[Option<Answer>], sentinels: &[Address]) -> Option<Trouble> {
    latest.iter().zip(sentinels).find_map(|(answer, address)| match answer {
        Some(Answer::Trouble(trouble)) => {
            Some(Trouble { problem: format!("{address}: {}", trouble.problem), hint: trouble.hint.clone() })
        }
        _ => None,
    })
}

/// Why no sentinel named a primary.
fn complaint(
    latest: &[Option<Answer>],
    sentinels: &[Address],
    primary: &str,
    known: Option<&Address>,
) -> Option<Trouble> {
    if latest.iter().flatten().any(|answer| *answer == Answer::Unknown) {
        return Some(Trouble::new(
            format!("the sentinels do not know a primary named `{}`", words::shown(primary)),
            "its name stands after the hosts in the URL: redis-sentinel://host:port/name",
        ));
    }
    let costs = if known.is_some() { "a failover is not noticed" } else { "the primary is not known" };
    let Trouble { problem, hint } = first_trouble(latest, sentinels)?;
    Some(Trouble { problem: format!("no sentinel says where it is, so {costs}: {problem}"), hint })
}

/// Says what an error of a sentinel means, which is let in by other credentials than the servers.
fn trouble(error: &Error) -> Trouble {
    const OF_THEIR_OWN: &str = "sentinels have users of their own, apart from those in the URL: sentinel = { user = \"…\", \
                                password = \"…\" } in lockkeeper.toml";
    let Trouble { problem, hint } = Trouble::of(error);
    let problem = problem.strip_prefix("Redis ").map_or(problem.clone(), |rest| format!("the sentinel {rest}"));
    if is_of_credentials(error) {
        return Trouble::new(problem, OF_THEIR_OWN);
    }
    if let Some(command) = refused_command(error) {
        return Trouble::new(
            format!("its user may not run `{command}`"),
            "grant it on each sentinel: ACL SETUSER <user> +sentinel|get-master-addr-by-name +subscribe +ping",
        );
    }
    if error.details().contains("unknown command") && error.details().to_ascii_uppercase().contains("'SENTINEL'") {
        return Trouble::new(
            "this Redis is no sentinel",
            "name the hosts and ports of the sentinels; one server is watched by its own URL: redis://host:port",
        );
    }
    Trouble { problem, hint }
}

/// Has the server itself say that it is the primary.
async fn verify(config: &RedisConfig, elected: &Address) -> Result<(), Trouble> {
    let of = |trouble: Trouble| Trouble {
        problem: format!("the sentinels name {elected} as the primary: {}", trouble.problem),
        hint: trouble.hint,
    };
    let endpoint = config.node(elected.clone());
    let connection = connect::connect(&endpoint, For::Topology).await.map_err(|error| of(Trouble::of(&error)))?;
    match info(&connection.client(), "replication").await {
        Ok(said) if field(&said, "role").is_none_or(|role| role == "master") => Ok(()),
        Ok(_) => Err(of(Trouble::new("it says that it is a replica", "a failover may be under way"))),
        // Not permitted to say: the sentinels are believed.
        Err(error) if !is_of_connection(&error) => Ok(()),
        Err(error) => Err(of(Trouble::of(&error))),
    }
}

/// Asks one sentinel for ever, and passes on what it says.
async fn ask_on(i: usize, endpoint: Endpoint, primary: String, answers: mpsc::Sender<(usize, Answer)>) {
    loop {
        let error = match ask_while_connected(i, &endpoint, &primary, &answers).await {
            Ok(()) => return,
            Err(error) => error,
        };
        if answers.send((i, Answer::Trouble(trouble(&error)))).await.is_err() {
            return;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Ends well only when nobody listens any more.
async fn ask_while_connected(
    i: usize,
    endpoint: &Endpoint,
    primary: &str,
    answers: &mpsc::Sender<(usize, Answer)>,
) -> Result<(), Error> {
    let connection = connect::connect(endpoint, For::Topology).await?;
    let client = connection.client();
    let mut messages = client.message_rx();
    // Without permission for it, asking each second does.
    let _ = client.subscribe(MOVED).await;
    loop {
        let answer = in_time(ask(&client, endpoint, primary)).await?;
        if answers.send((i, answer)).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            // Which primary moved, and where to, is asked afterwards. A closed channel shows in the next question.
            Ok(_) = messages.recv() => {}
        }
    }
}

async fn ask(client: &Client, endpoint: &Endpoint, primary: &str) -> Result<Answer, Error> {
    let sentinel = CustomCommand::new_static("SENTINEL", ClusterHash::Random, false);
    let reply: Result<Reply, Error> = client.custom(sentinel, vec!["GET-MASTER-ADDR-BY-NAME", primary]).await;
    match reply {
        Ok(Reply::Array(parts)) => {
            let mut parts = parts.into_iter().filter_map(|part| part.into_string());
            let (host, port) = (parts.next(), parts.next());
            let address = Address::redirected(
                &format!("{}:{}", host.unwrap_or_default(), port.unwrap_or_default()),
                &endpoint.address,
            );
            Ok(address.map_or(Answer::Unknown, Answer::Primary))
        }
        Ok(_) => Ok(Answer::Unknown),
        Err(error) if is_of_connection(&error) => Err(error),
        Err(error) => Ok(Answer::Trouble(trouble(&error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_decide_and_a_tie_changes_nothing() {
        let (a, b) = (Address::new("a", 1), Address::new("b", 1));
        let said = |address: &Address| Some(Answer::Primary(address.clone()));
        assert_eq!(elect(&[said(&a), said(&b), said(&b)], Some(&a)), Some(b.clone()));
        assert_eq!(elect(&[said(&a), said(&b), None], Some(&a)), Some(a.clone()));
        assert_eq!(elect(&[said(&a), said(&b), None], Some(&b)), Some(b.clone()));
        assert_eq!(elect(&[Some(Answer::Unknown), said(&b), None], None), Some(b));
        assert_eq!(elect(&[Some(Answer::Unknown), None], Some(&a)), None);
        let unknown = complaint(&[Some(Answer::Unknown)], std::slice::from_ref(&a), "main", None).unwrap();
        assert!(unknown.problem.contains("`main`"), "{unknown:?}");
    }

    #[test]
    fn without_most_of_the_sentinels_a_failover_is_not_promised() {
        let addresses = ["a", "b", "c"].map(|host| Address::new(host, 1));
        let named = Some(Answer::Primary(Address::new("p", 1)));
        let silent = Some(Answer::Trouble(Trouble { problem: "frozen".to_owned(), hint: None }));
        assert_eq!(minority(&[named.clone(), None, None], &addresses), None, "nobody failed yet");
        assert_eq!(minority(&[named.clone(), silent.clone(), named.clone()], &addresses), None);
        let said = minority(&[silent, named, Some(Answer::Unknown)], &addresses).unwrap().problem;
        assert_eq!(said, "only 1 of 3 sentinels name the primary, so a failover may go unnoticed: a:1: frozen");
    }
}
