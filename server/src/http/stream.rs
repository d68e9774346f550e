//! The app's WebSocket. What it says is decided by the board; here is only that it is said in time and that a viewer
//! who talks too much, talks nonsense or stops reading hurts nobody else.

use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::http::StatusCode;
use axum::response::Response;
use lockkeeper_model::wire::{ClientFrame, MAX_CLIENT_FRAME_BYTES, ServerFrame};
use lockkeeper_model::{MAX_LIMIT, words};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::{ApiError, AppState};
use crate::access::Tenure;
use crate::board::Viewer;

/// How long one message may take to leave: a phone in a tunnel comes back within this, a viewer that does not read
/// does not.
const SEND_TIMEOUT: Duration = Duration::from_secs(20);

/// …and how long the goodbye may take, once the server is on its way out.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the other end is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(15);

/// Without any sign of life for this long the other end is gone: three pings unanswered.
const SILENCE: Duration = Duration::from_secs(50);

/// Messages a second that a viewer may send: typing and scrolling stay far below.
const MAX_MESSAGES_PER_SECOND: u32 = 60;

/// Messages that may fail to be understood before the viewer is taken for broken.
const MAX_REFUSALS: u32 = 16;

/// The largest message that is read from the wire at all. Above [`MAX_CLIENT_FRAME_BYTES`], so that one that is too
/// large can be refused by name.
const MAX_TRANSPORT_BYTES: usize = 8 * MAX_CLIENT_FRAME_BYTES;

/// The app's WebSocket: JSON text, one frame a message. The first frame carries the protocol version.
#[utoipa::path(
    get, path = "/api/v1/stream", tag = "watching", operation_id = "openStream",
    responses(
        (status = 101, description = "the WebSocket; its first frame carries the protocol version"),
        (status = "default", body = lockkeeper_model::Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn open(
    State(state): State<AppState>,
    caller: Caller,
    Extension(tenure): Extension<Tenure>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    caller.seen()?;
    let upgrade = upgrade.map_err(|rejection| {
        ApiError::new(
            StatusCode::UPGRADE_REQUIRED,
            "not-a-websocket",
            "This is a WebSocket",
            words::shown(&rejection.body_text()),
        )
    })?;
    let slot = state.admit_viewer()?;
    let outdated = caller.outdated(&state);
    let viewer = state.board.connect(caller.scope).await?;
    let upgrade = upgrade.max_message_size(MAX_TRANSPORT_BYTES).max_frame_size(MAX_TRANSPORT_BYTES);
    Ok(upgrade.on_upgrade(async move |socket| {
        let _slot = slot;
        Link::new(socket, viewer, tenure, state.closing).run(outdated).await;
    }))
}

/// Why a link ends, as the other end is told.
#[derive(Debug)]
struct Goodbye {
    code: u16,
    reason: &'static str,
}

/// There is nobody left to say it to.
#[derive(Debug)]
struct Lost;

/// What made the loop turn.
enum Wake {
    Frame(Option<bytes::Bytes>),
    Said(Option<Result<Message, axum::Error>>),
    Ping,
    Closing,
    SignedOut,
    Outdated,
}

/// One viewer's connection.
struct Link {
    socket: WebSocket,
    viewer: Viewer,
    tenure: Tenure,
    closing: CancellationToken,
    heard_at: Instant,
    second: Instant,
    messages_this_second: u32,
    refusals: u32,
}

impl Link {
    fn new(socket: WebSocket, viewer: Viewer, tenure: Tenure, closing: CancellationToken) -> Link {
        let now = Instant::now();
        Link { socket, viewer, tenure, closing, heard_at: now, second: now, messages_this_second: 0, refusals: 0 }
    }

    async fn run(mut self, outdated: impl Future<Output = ()>) {
        if let Ok(Goodbye { code, reason }) = self.serve(outdated).await {
            let goodbye = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
            // The other end may be gone by now, which is as good.
            let _ = self.send(goodbye).await;
        }
    }

    async fn serve(&mut self, outdated: impl Future<Output = ()>) -> Result<Goodbye, Lost> {
        let closing = self.closing.clone();
        let mut outdated = std::pin::pin!(outdated);
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut over = std::pin::pin!(self.tenure.clone().over());
        loop {
            let wake = tokio::select! {
                // These before frames: nothing more is shown to whoever may not see it any more.
                biased;
                () = closing.cancelled() => Wake::Closing,
                () = &mut over => Wake::SignedOut,
                () = &mut outdated => Wake::Outdated,
                frame = self.viewer.frames.recv() => Wake::Frame(frame),
                said = self.socket.recv() => Wake::Said(said),
                _ = pings.tick() => Wake::Ping,
            };
            let goodbye = match wake {
                Wake::Closing | Wake::Frame(None) => Some(closing_down()),
                Wake::SignedOut => Some(Goodbye { code: close_code::POLICY, reason: "signed out" }),
                // Whoever comes again is shown what they may see now.
                Wake::Outdated => Some(Goodbye { code: close_code::RESTART, reason: "your rights have changed" }),
                Wake::Frame(Some(frame)) => {
                    let text = Utf8Bytes::try_from(frame).map_err(|_| Lost)?;
                    self.send(Message::Text(text)).await?;
                    None
                }
                Wake::Said(None) => return Err(Lost),
                // The transport refuses larger ones itself; other errors leave nobody to hear this.
                Wake::Said(Some(Err(_))) => Some(too_large()),
                Wake::Said(Some(Ok(message))) => self.hear(message).await?,
                Wake::Ping if self.heard_at.elapsed() > SILENCE => return Err(Lost),
                Wake::Ping => {
                    self.send(Message::Ping(bytes::Bytes::new())).await?;
                    None
                }
            };
            if let Some(goodbye) = goodbye {
                return Ok(goodbye);
            }
        }
    }

    async fn hear(&mut self, message: Message) -> Result<Option<Goodbye>, Lost> {
        self.heard_at = Instant::now();
        if self.heard_at.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.messages_this_second) = (self.heard_at, 0);
        }
        self.messages_this_second += 1;
        if self.messages_this_second > MAX_MESSAGES_PER_SECOND {
            return Ok(Some(Goodbye { code: close_code::POLICY, reason: "too many messages" }));
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                return Ok(Some(Goodbye { code: close_code::UNSUPPORTED, reason: "messages are JSON text" }));
            }
            Message::Close(_) => return Err(Lost),
            Message::Ping(_) | Message::Pong(_) => return Ok(None),
        };
        if text.len() > MAX_CLIENT_FRAME_BYTES {
            return Ok(Some(too_large()));
        }
        self.tenure.touch();
        match understand(&text) {
            Ok(frame) => match self.viewer.say(frame).await {
                Ok(()) => Ok(None),
                Err(_) => Ok(Some(closing_down())),
            },
            Err(detail) => self.refuse(detail).await,
        }
    }

    async fn refuse(&mut self, detail: String) -> Result<Option<Goodbye>, Lost> {
        self.refusals += 1;
        if self.refusals > MAX_REFUSALS {
            return Ok(Some(Goodbye { code: close_code::POLICY, reason: "too many messages that make no sense" }));
        }
        let frame = serde_json::to_string(&ServerFrame::Refused { detail }).map_err(|_| Lost)?;
        self.send(Message::text(frame)).await?;
        Ok(None)
    }

    async fn send(&mut self, message: Message) -> Result<(), Lost> {
        let closing = self.closing.clone();
        let soon = async {
            closing.cancelled().await;
            tokio::time::sleep(GOODBYE_TIMEOUT).await;
        };
        tokio::select! {
            sent = timeout(SEND_TIMEOUT, self.socket.send(message)) => match sent {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) | Err(_) => Err(Lost),
            },
            () = soon => Err(Lost),
        }
    }
}

fn too_large() -> Goodbye {
    Goodbye { code: close_code::SIZE, reason: "the message is too large" }
}

fn closing_down() -> Goodbye {
    Goodbye { code: close_code::AWAY, reason: "the server is shutting down" }
}

/// The frame, checked as the board expects it, or what is wrong with it.
fn understand(text: &str) -> Result<ClientFrame, String> {
    let frame: ClientFrame = serde_json::from_str(text).map_err(|error| words::shown(&error.to_string()))?;
    match &frame {
        ClientFrame::Ask { question, limit, .. } => {
            question.check().map_err(|error| error.to_string())?;
            if *limit > MAX_LIMIT {
                return Err(format!("`limit` is `{limit}`, expected at most {MAX_LIMIT}"));
            }
        }
        ClientFrame::Follow { lock: Some((_, id)) } => {
            id.key().map_err(|error| error.to_string())?;
        }
        ClientFrame::Follow { lock: None } => {}
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bent::Bender;
    use proptest::prelude::*;

    #[test]
    fn a_frame_that_the_board_could_not_answer_is_refused_by_name() {
        for (frame, detail) in [
            (
                r#"{"kind":"ask","ask":1,"question":{"state":"stuck"},"offset":0,"limit":50}"#,
                "`state` is `stuck`, expected one of held, waiting, waiting_only, no_quorum, unknown_holder",
            ),
            (
                r#"{"kind":"ask","ask":1,"question":{},"offset":0,"limit":5000}"#,
                "`limit` is `5000`, expected at most 1000",
            ),
            (
                r#"{"kind":"follow","lock":["orders","b64:*"]}"#,
                "`b64:*` begins with `b64:` but the rest is not unpadded base64url",
            ),
            (r#"{"kind":"shout"}"#, "unknown variant `shout`, expected `ask` or `follow` at line 1 column 15"),
        ] {
            assert_eq!(understand(frame).unwrap_err(), detail);
        }
        assert!(understand(r#"{"kind":"follow","lock":null}"#).is_ok());
    }

    /// As many as are tried in some seconds without optimisation.
    const BENT: usize = 200_000;

    #[test]
    fn what_is_understood_can_be_answered_and_what_is_not_is_refused_in_plain_words() {
        let real = [
            r#"{"kind":"ask","ask":1,"question":{"q":"stock","source":"orders","sort":"name","order":"desc"},"offset":0,"limit":50}"#,
            r#"{"kind":"ask","ask":4294967295,"question":{"state":"held","flag":"no-expiry"},"offset":0,"limit":1000}"#,
            r#"{"kind":"follow","lock":["orders","b64:bG9jazo0NzEx"]}"#,
            r#"{"kind":"follow","lock":null}"#,
        ];
        for frame in real {
            understand(frame).unwrap();
        }
        let mut bender = Bender::new();
        let mut understood = 0;
        for _ in 0..BENT {
            let bent = bender.bend_text(&real);
            match understand(&bent) {
                Ok(ClientFrame::Ask { question, limit, .. }) => {
                    assert!(question.check().is_ok() && limit <= MAX_LIMIT, "{bent}");
                    understood += 1;
                }
                Ok(ClientFrame::Follow { lock }) => {
                    assert!(lock.is_none_or(|(_, id)| id.key().is_ok()), "{bent}");
                    understood += 1;
                }
                // It goes to the screen and may be looked at in a log.
                Err(detail) => assert!(!detail.chars().any(char::is_control), "{detail:?} of {bent:?}"),
            }
        }
        assert!(understood > BENT / 100, "nothing that was bent was near enough to a frame");
    }

    proptest! {
        #[test]
        fn no_text_makes_understanding_panic(text in ".{0,200}") {
            let _ = understand(&text);
        }
    }
}
