use futures_util::{SinkExt as _, StreamExt as _};
use lockkeeper_model::Question;
use lockkeeper_model::wire::{ClientFrame, ServerFrame};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::{DEADLINE, Server};

/// A viewer on the app's WebSocket.
#[derive(Debug)]
pub struct Viewer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Viewer {
    /// Connects.
    ///
    /// # Panics
    /// When the server does not let it.
    pub async fn connect(server: &Server) -> Viewer {
        let (socket, _) =
            connect_async(format!("ws://{}/api/v1/stream", server.address())).await.expect("a viewer's place");
        Viewer { socket }
    }

    /// Connects with one more header, as somebody who is signed in.
    ///
    /// # Panics
    /// When the server does not let it.
    pub async fn connect_with(server: &Server, name: &'static str, value: &str) -> Viewer {
        let mut request = format!("ws://{}/api/v1/stream", server.address()).into_client_request().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
        let (socket, _) = connect_async(request).await.expect("a viewer's place");
        Viewer { socket }
    }

    /// The next message of any kind; `None` at the end.
    ///
    /// # Panics
    /// When there is none for too long.
    pub async fn message(&mut self) -> Option<Message> {
        timeout(DEADLINE, self.socket.next()).await.expect("a message").and_then(Result::ok)
    }

    /// The next frame.
    ///
    /// # Panics
    /// When the server closes instead.
    pub async fn frame(&mut self) -> ServerFrame {
        loop {
            match self.message().await {
                Some(Message::Text(text)) => {
                    return serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
                }
                Some(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("expected a frame, got {other:?}"),
            }
        }
    }

    /// Reads frames until one is what is wanted.
    ///
    /// # Panics
    /// When none is for too long. The server says something every second, so silence is no sign of that.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(ServerFrame) -> Option<T>) -> T {
        let mut last = String::new();
        let found = timeout(DEADLINE, async {
            loop {
                let frame = self.frame().await;
                last = format!("{frame:?}").chars().take(1_000).collect();
                if let Some(found) = wanted(frame) {
                    return found;
                }
            }
        })
        .await;
        found.unwrap_or_else(|_| panic!("the wanted frame did not come; the last was {last}"))
    }

    /// How the server closed, after whatever it still said.
    ///
    /// # Panics
    /// When it does not.
    pub async fn close_code(&mut self) -> Option<u16> {
        let closed = timeout(DEADLINE, async {
            loop {
                match self.message().await {
                    Some(Message::Close(frame)) => return frame.map(|frame| frame.code.into()),
                    Some(_) => {}
                    None => return None,
                }
            }
        })
        .await;
        closed.expect("the server to close")
    }

    /// Says a frame.
    pub async fn say(&mut self, frame: &ClientFrame) {
        self.say_raw(Message::text(serde_json::to_string(frame).unwrap())).await;
    }

    /// Says anything. The server may have closed already: then this says nothing.
    pub async fn say_raw(&mut self, message: Message) {
        let _ = self.socket.send(message).await;
    }

    /// Asks for the first `limit` locks that answer this question.
    pub async fn ask(&mut self, ask: u32, question: Question, limit: u32) {
        self.say(&ClientFrame::Ask { ask, question, offset: 0, limit, seen: None }).await;
    }
}
