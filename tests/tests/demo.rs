//! `lockkeeper demo`: what a newcomer sees first.

use lockkeeper_model::Verdict;
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
