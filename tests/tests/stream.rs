//! The app's WebSocket, as an unfriendly viewer would use it.

use std::time::Duration;

use lockkeeper_model::wire::{ClientFrame, MAX_CLIENT_FRAME_BYTES, PROTOCOL, ServerFrame};
use lockkeeper_model::{LockId, Question};
use lockkeeper_tests::{Family, RedisServer, Server, Viewer, until};
use tokio_tungstenite::tungstenite::Message;

const LEASE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_is_greeted_gets_its_window_and_then_only_what_changes() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let store = redis.client().await;
    let first = Family::RedisPy.client(&store, "first", Some(LEASE));
    assert!(first.take().await);
    server.api().until_lock("the lock", &first.key, |_| true).await;

    let mut viewer = Viewer::connect(&server).await;
    match viewer.frame().await {
        ServerFrame::Hello { protocol, release_enabled, demo, .. } => {
            assert_eq!((protocol, release_enabled, demo), (PROTOCOL, false, false));
        }
        other => panic!("{other:?}"),
    }
    viewer.ask(7, Question::default(), 50).await;
    let row = viewer
        .until(|frame| match frame {
            ServerFrame::Window { ask: 7, total: 1, rows, .. } => Some(rows[0].clone()),
            ServerFrame::Window { .. } | ServerFrame::Delta { .. } => panic!("{frame:?}"),
            _ => None,
        })
        .await;
    assert_eq!((row.id.as_str(), row.token), ("lock:first", Some(first.token.clone())));

    let second = Family::Redisson.client(&store, "second", Some(LEASE));
    assert!(second.take().await);
    viewer
        .until(|frame| match frame {
            ServerFrame::Delta { ask: 7, total: 2, rows, .. } if rows.iter().any(|row| row.id.as_str() == "second") => {
                assert!(rows.iter().all(|row| row.id.as_str() != "lock:first"), "an unchanged row was sent");
                Some(())
            }
            _ => None,
        })
        .await;
    assert!(first.release().await);
    viewer
        .until(|frame| match frame {
            ServerFrame::Delta { total: 1, ended, .. } => {
                assert_eq!((ended[0].row, ended[0].transition.word()), (row.row, "released"));
                Some(())
            }
            // A viewer that was slow to read gets a whole window instead.
            ServerFrame::Window { total: 1, rows, .. } => {
                assert!(rows.iter().all(|row| row.id.as_str() != "lock:first"));
                Some(())
            }
            _ => None,
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_lock_is_told_in_every_detail() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let store = redis.client().await;
    let holder = Family::RedisPy.client(&store, "followed", Some(LEASE));
    let mut viewer = Viewer::connect(&server).await;
    let lock = Some((redis.source(), LockId::of_key(holder.key.as_bytes())));
    viewer.say(&ClientFrame::Follow { lock }).await;
    assert!(holder.take().await);
    let told = viewer
        .until(|frame| match frame {
            ServerFrame::Detail { lock: Some(lock), events, .. } => Some((lock, events)),
            _ => None,
        })
        .await;
    assert_eq!(told.0.holders[0].token.as_ref(), Some(&holder.token));
    assert_eq!(told.1[0].transition.word(), "acquired");
    assert!(holder.release().await);
    viewer
        .until(|frame| match frame {
            ServerFrame::Detail { lock: None, events, .. } => (events[0].transition.word() == "released").then_some(()),
            _ => None,
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_make_no_sense_are_refused_by_name_and_too_many_end_the_link() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let mut viewer = Viewer::connect(&server).await;
    for nonsense in
        ["", "{", "[]", r#"{"kind":"shout"}"#, r#"{"kind":"ask","ask":1,"question":{"flag":"x"},"offset":0,"limit":5}"#]
    {
        viewer.say_raw(Message::text(nonsense)).await;
        let detail = viewer
            .until(|frame| match frame {
                ServerFrame::Refused { detail } => Some(detail),
                _ => None,
            })
            .await;
        assert!(!detail.is_empty());
    }
    for _ in 0..40 {
        viewer.say_raw(Message::text("nonsense")).await;
    }
    assert_eq!(viewer.close_code().await, Some(1008));

    let mut viewer = Viewer::connect(&server).await;
    viewer.say_raw(Message::text("x".repeat(MAX_CLIENT_FRAME_BYTES + 1))).await;
    assert_eq!(viewer.close_code().await, Some(1009));

    let mut viewer = Viewer::connect(&server).await;
    viewer.say_raw(Message::binary(vec![0xff, 0x00])).await;
    assert_eq!(viewer.close_code().await, Some(1003));

    // None of which hurt anybody else.
    let mut viewer = Viewer::connect(&server).await;
    assert!(matches!(viewer.frame().await, ServerFrame::Hello { .. }));
}

/// Locks that change while a viewer does not read, so many that no buffer on the way holds what it missed.
const BUSY_LOCKS: usize = 600;

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_stops_reading_hurts_nobody_and_catches_up_with_a_whole_window() {
    let redis = RedisServer::start().await;
    let server = Server::watching(&redis).await;
    let store = redis.client().await;
    let mut locks = Vec::new();
    for n in 0..BUSY_LOCKS {
        let lock = Family::RedisPy.client(&store, &format!("busy:{n:04}"), Some(LEASE));
        assert!(lock.take().await);
        locks.push(lock);
    }
    let api = server.api();
    until("all locks", async || api.locks("limit=1").await.total, |total| *total == BUSY_LOCKS as u64).await;

    let mut asleep = Viewer::connect(&server).await;
    asleep.ask(1, Question::default(), 1_000).await;
    let mut awake = Viewer::connect(&server).await;
    awake.ask(1, Question { q: "busy:0000".to_owned(), ..Question::default() }, 10).await;
    for _ in 0..12 {
        let taken_anew = locks.iter_mut().map(async |lock| {
            assert!(lock.release().await);
            *lock = lock.fresh();
            assert!(lock.take().await);
        });
        futures_util::future::join_all(taken_anew).await;
    }
    // Somebody else still hears of everything at once…
    let last = locks[0].token.clone();
    awake
        .until(|frame| match frame {
            ServerFrame::Window { rows, .. } | ServerFrame::Delta { rows, .. } => {
                rows.iter().any(|row| row.token.as_ref() == Some(&last)).then_some(())
            }
            _ => None,
        })
        .await;
    // …and the sleeper, once it wakes, sees every lock as it is now.
    let mut tokens = std::collections::HashMap::new();
    let wanted: std::collections::HashMap<_, _> =
        locks.iter().map(|lock| (lock.key.clone(), Some(lock.token.clone()))).collect();
    asleep
        .until(|frame| {
            match frame {
                ServerFrame::Window { rows, .. } => {
                    tokens = rows.into_iter().map(|row| (row.id.as_str().to_owned(), row.token)).collect();
                }
                ServerFrame::Delta { rows, .. } => {
                    tokens.extend(rows.into_iter().map(|row| (row.id.as_str().to_owned(), row.token)));
                }
                _ => {}
            }
            (tokens == wanted).then_some(())
        })
        .await;
}
