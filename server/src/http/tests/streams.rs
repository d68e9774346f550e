//! Streams, as a client uses them.

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, StatusCode};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use lockkeeper_model::TransitionKind;
use lockkeeper_model::wire::{ClientFrame, MAX_CLIENT_FRAME_BYTES};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::super::serve::MAX_HEAD_BYTES;
use super::{Rim, ask, json};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(rim: &Rim) -> Socket {
    let (address, _) = rim.listen().await;
    let (socket, _) = connect_async(format!("ws://{address}/api/v1/stream")).await.unwrap();
    socket
}

/// The next message that is not the transport's own.
async fn next(socket: &mut Socket) -> Message {
    loop {
        match socket.next().await.expect("a message before the end").unwrap() {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

async fn close_code(socket: &mut Socket) -> CloseCode {
    loop {
        if let Message::Close(Some(frame)) = next(socket).await {
            return frame.code;
        }
    }
}

#[tokio::test]
async fn frames_of_the_board_reach_the_viewer_and_the_viewers_the_board() {
    let rim = Rim::new();
    let mut socket = connect(&rim).await;
    rim.fake.with(|world| world.viewers[0].try_send(Bytes::from_static(b"{\"kind\":\"hello\"}")).unwrap());
    assert_eq!(next(&mut socket).await, Message::text("{\"kind\":\"hello\"}"));
    socket.send(Message::text(r#"{"kind":"follow","lock":null}"#)).await.unwrap();
    socket.send(Message::text("nonsense")).await.unwrap();
    // The answer to the second message proves that the first was taken.
    let Message::Text(refused) = next(&mut socket).await else { panic!("a refusal is text") };
    assert!(refused.contains("refused"), "{refused}");
    assert_eq!(rim.fake.with(|world| world.frames.clone()), [ClientFrame::Follow { lock: None }]);
}

#[tokio::test]
async fn a_viewer_that_talks_nonsense_is_told_and_at_last_shown_the_door() {
    let rim = Rim::new();
    let mut socket = connect(&rim).await;
    for _ in 0..16 {
        socket.send(Message::text("{}")).await.unwrap();
        assert!(next(&mut socket).await.is_text());
    }
    socket.send(Message::text("{}")).await.unwrap();
    assert_eq!(close_code(&mut socket).await, CloseCode::Policy);
}

#[tokio::test]
async fn messages_of_the_wrong_size_or_kind_end_the_link_by_name() {
    for (message, code) in [
        (Message::text("x".repeat(MAX_CLIENT_FRAME_BYTES + 1)), CloseCode::Size),
        (Message::text("x".repeat(1024 * 1024)), CloseCode::Size),
        (Message::binary(vec![1, 2, 3]), CloseCode::Unsupported),
    ] {
        let rim = Rim::new();
        let mut socket = connect(&rim).await;
        // The server may hang up before all of it was sent.
        let _ = socket.send(message).await;
        match socket.next().await {
            Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, code),
            // A reset may overtake the goodbye when megabytes were still on their way.
            other => assert!(code == CloseCode::Size && !matches!(other, Some(Ok(_))), "{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_viewer_that_talks_too_much_is_shown_the_door() {
    let rim = Rim::new();
    let mut socket = connect(&rim).await;
    for _ in 0..200 {
        if socket.send(Message::text(r#"{"kind":"follow","lock":null}"#)).await.is_err() {
            break;
        }
    }
    assert_eq!(close_code(&mut socket).await, CloseCode::Policy);
    assert!(rim.fake.with(|world| world.frames.len()) <= 60);
}

#[tokio::test]
async fn the_end_of_the_server_ends_streams_first_and_says_so() {
    let rim = Rim::new();
    let (address, server) = rim.listen().await;
    let (mut socket, _) = connect_async(format!("ws://{address}/api/v1/stream")).await.unwrap();
    rim.state.closing.cancel();
    assert_eq!(close_code(&mut socket).await, CloseCode::Away);
    server.await.unwrap();
}

#[tokio::test]
async fn a_viewer_that_stops_reading_is_let_go() {
    let rim = Rim::new();
    let _unread = connect(&rim).await;
    let frames = rim.fake.with(|world| world.viewers[0].clone());
    tokio::time::pause();
    // More than the connection's buffers take, until the other end of the channel is gone.
    let frame = Bytes::from(vec![b'x'; 1024 * 1024]);
    while frames.send(frame.clone()).await.is_ok() {}
    while rim.state.open_streams()[0].1 > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_head_of_a_request_is_not_waited_for_without_end() {
    let rim = Rim::new();
    let (address, _) = rim.listen().await;
    for begun in ["", "GET /healthz HTTP/1.1\r\nhost: localho", "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: "] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        tokio::time::pause();
        let mut answer = Vec::new();
        // It ends, whether as a close or as a reset.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{begun}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused_and_not_kept() {
    let rim = Rim::new();
    let (address, _) = rim.listen().await;
    for (value, begins) in [(MAX_HEAD_BYTES / 2, "HTTP/1.1 200"), (4 * MAX_HEAD_BYTES, "HTTP/1.1 431")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let (head, filler) =
            ("GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: ", "x".repeat(value));
        // It may be refused before all of it was sent.
        let _ = stream.write_all(format!("{head}{filler}\r\n\r\n").as_bytes()).await;
        let mut answer = vec![0; begins.len()];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), begins);
    }
}

#[tokio::test]
async fn a_viewer_that_leaves_makes_room_and_the_board_knows() {
    let rim = Rim::new();
    let socket = connect(&rim).await;
    assert_eq!(rim.state.open_streams()[0], ("stream", 1));
    drop(socket);
    while rim.state.open_streams()[0].1 > 0 {
        tokio::task::yield_now().await;
    }
    while rim.fake.asked() != ["leave 1"] {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn more_viewers_than_there_is_room_for_are_told_to_come_back() {
    let rim = Rim::new();
    let places: Vec<_> = (0..).map_while(|_| rim.state.admit_viewer().ok()).collect();
    assert_eq!(places.len(), super::super::state::MAX_VIEWERS);
    let (address, _) = rim.listen().await;
    let Err(tokio_tungstenite::tungstenite::Error::Http(response)) =
        connect_async(format!("ws://{address}/api/v1/stream")).await
    else {
        panic!("there was no room");
    };
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE.as_u16());
    assert!(response.headers().contains_key("retry-after"));
}

async fn events(rim: &Rim, path: &str, last: Option<&str>) -> BodyDataStream {
    let mut request = ask(Method::GET, path, Body::empty());
    if let Some(last) = last {
        request.headers_mut().insert("last-event-id", last.parse().unwrap());
    }
    let response = rim.send(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(response.headers().get("content-encoding").is_none());
    response.into_body().into_data_stream()
}

async fn chunk(stream: &mut BodyDataStream) -> String {
    String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn events_come_with_id_name_and_data() {
    let rim = Rim::new();
    let mut stream = events(&rim, "/api/v1/events?source=orders&lock=lock:stock:4711", None).await;
    assert_eq!(
        rim.fake.asked(),
        [
            "subscribe EventFilter { reach: all, source: Some(\"orders\"), lock: Some(LockId(\"lock:stock:4711\")), lost_releases: false } None"
        ]
    );
    rim.fake.with(|world| world.tell("lock:stock:4711", TransitionKind::Acquired));
    let event = chunk(&mut stream).await;
    assert!(event.contains("event: acquired\n") && event.contains("id: 1\n"), "{event}");
    let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!((data["transition"].as_str(), data["lock"].as_str()), (Some("acquired"), Some("lock:stock:4711")));
}

#[tokio::test]
async fn a_stream_resumes_where_the_browser_left_off() {
    let rim = Rim::new();
    rim.fake.with(|world| world.tell("x", TransitionKind::Gap));
    let mut stream = events(&rim, "/api/v1/events?last_event_id=3", Some("7")).await;
    assert!(rim.fake.asked()[0].ends_with("Some(\"7\")"), "the header is newer than the URL");
    assert!(chunk(&mut stream).await.contains("event: gap"));
    let mut stream = events(&rim, "/api/v1/events?last_event_id=3", None).await;
    assert!(rim.fake.asked()[0].ends_with("Some(\"3\")"));
    assert!(chunk(&mut stream).await.contains("event: gap"));
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_shows_that_it_lives() {
    let rim = Rim::new();
    let mut stream = events(&rim, "/api/v1/events", None).await;
    let asked_at = tokio::time::Instant::now();
    assert_eq!(chunk(&mut stream).await, ": alive\n\n");
    assert_eq!(asked_at.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn event_streams_end_with_the_server_and_with_their_subscription() {
    let rim = Rim::new();
    let mut fallen_behind = events(&rim, "/api/v1/events", None).await;
    rim.fake.with(|world| world.subscribers.clear());
    assert!(fallen_behind.next().await.is_none());
    let mut open = events(&rim, "/api/v1/events", None).await;
    rim.state.closing.cancel();
    assert!(open.next().await.is_none());
}

#[tokio::test]
async fn event_streams_are_bounded_and_give_their_place_back() {
    let rim = Rim::new();
    let mut streams = Vec::new();
    for _ in 0..super::super::state::MAX_EVENT_STREAMS {
        streams.push(events(&rim, "/api/v1/events", None).await);
    }
    let full = rim.send(ask(Method::GET, "/api/v1/events", Body::empty())).await;
    let (status, problem) = json(full).await;
    assert_eq!((status, problem["type"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("/problems/full")));
    streams.pop();
    streams.push(events(&rim, "/api/v1/events", None).await);
}

#[tokio::test]
async fn a_stream_of_nothing_that_exists_is_refused() {
    let rim = Rim::new();
    let long = format!("last_event_id={}", "9".repeat(200));
    for query in ["source=nowhere", "lock=b64:*", "colour=red", &long] {
        assert_eq!(rim.get(&format!("/api/v1/events?{query}")).await.0, StatusCode::BAD_REQUEST, "{query}");
    }
}
