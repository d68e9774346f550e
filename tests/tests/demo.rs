//! `lockkeeper demo`: what a newcomer sees first.

use lockkeeper_model::{LinkBasis, Verdict, WaitGraph};
use lockkeeper_tests::{Server, until};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_every_kind_of_trouble_and_lets_it_be_released() {
    let server = Server::demo().start().await;
    server.ready().await;
    let api = server.api();
    assert!(api.source().await.demo);
    api.until_lock("the crowd", "payments:settlement", |lock| lock.waiters.count.is_some_and(|count| count >= 14))
        .await;
    api.until_lock("the lock that was entered twice", "catalog:rebuild", |lock| lock.holders[0].count == 2).await;
    api.until_lock("the stuck worker, which is alive", "lock:warehouse:sync", |lock| {
        lock.holders[0].verdict == Verdict::Alive
    })
    .await;
    // Those who use the reference client have names, a fencing token, and now and then a deadlock.
    let seats = api
        .until_lock("three who say that they wait for seats", "lock:seats:allocation", |lock| {
            lock.waiters.list.len() == 3 && lock.holders[0].identity.client_name.is_some()
        })
        .await;
    assert!(seats.holders[0].fencing_token.is_some(), "{seats:#?}");
    assert!(seats.waiters.list.iter().all(|waiter| waiter.identity.pid.is_some()), "{seats:#?}");
    let graph = until(
        "the two transfers to wait for each other",
        async || api.get("/api/v1/graph?source=demo").await.json::<WaitGraph>(),
        |graph| graph.cycles.len() == 1,
    )
    .await;
    assert_eq!(graph.cycles[0].linked_by, Some(LinkBasis::Thread));
    let dead = api
        .until_lock("the lock without expiry", "lock:billing:invoice-run", |lock| {
            lock.flags.iter().any(|flag| flag.word() == "no-expiry")
        })
        .await;
    let (status, _) = api.release(&api.preview(&dead).await).await;
    assert_eq!(status, 200);
    api.until_lock("the next holder", "lock:billing:invoice-run", |lock| lock.generation != dead.generation).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_leaves_no_redis_behind_however_it_ends() {
    for crash in [false, true] {
        let mut server = Server::demo().start().await;
        server.ready().await;
        let store = server.api().source().await.address;
        TcpStream::connect(&store).await.unwrap();
        if crash {
            server.kill().await;
        } else {
            assert!(server.stop().await.success(), "{}", server.said());
        }
        until("the demo's Redis to end", async || TcpStream::connect(&store).await.is_err(), |gone| *gone).await;
    }
}
