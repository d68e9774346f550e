//! Somebody who looks: the app's WebSocket without the app.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lockkeeper_model::Question;
use lockkeeper_model::wire::{ClientFrame, PROTOCOL, Row, ServerFrame};
use tungstenite::{Message, WebSocket};

/// The server gives a sign of life every second.
const SILENCE: Duration = Duration::from_secs(10);

/// One viewer.
#[derive(Debug)]
pub(crate) struct Viewer {
    socket: WebSocket<TcpStream>,
    asked: u32,
}

/// A whole window as first told.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) total: u64,
    pub(crate) rows: Vec<Row>,
    /// From the question leaving to the last byte of the answer being here.
    pub(crate) took: Duration,
}

impl Viewer {
    pub(crate) fn open(host: SocketAddr) -> Result<Viewer> {
        let stream = TcpStream::connect(host).context("connect to lockkeeper")?;
        stream.set_nodelay(true).context("switch off delayed sending")?;
        stream.set_read_timeout(Some(SILENCE)).context("set a timeout")?;
        let (socket, _) =
            tungstenite::client(format!("ws://{host}/api/v1/stream"), stream).context("open the stream of frames")?;
        let mut viewer = Viewer { socket, asked: 0 };
        match viewer.frame()?.1 {
            ServerFrame::Hello { protocol: PROTOCOL, .. } => Ok(viewer),
            other => bail!("be greeted in protocol {PROTOCOL}: got {other:?}"),
        }
    }

    /// The next frame, and when its last byte was here.
    pub(crate) fn frame(&mut self) -> Result<(Instant, ServerFrame)> {
        loop {
            let message = match self.socket.read() {
                Ok(message) => message,
                // A machine that was halted for a moment interrupts reads that have a timeout.
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("read a frame"),
            };
            let at = Instant::now();
            match message {
                Message::Text(text) => {
                    return Ok((at, serde_json::from_str(&text).context("understand a frame")?));
                }
                Message::Close(why) => bail!("go on viewing: the server closed the stream: {why:?}"),
                _ => {}
            }
        }
    }

    /// States a question, and waits for the window that answers it whole.
    pub(crate) fn ask(&mut self, question: &Question, offset: u64, limit: u32) -> Result<Window> {
        self.answer(question, offset, limit).map(|(_, window)| window)
    }

    /// The same, with how long it took until there were rows to see, or nothing was left to look at.
    pub(crate) fn search(&mut self, question: &Question, limit: u32) -> Result<(Duration, Window)> {
        self.answer(question, 0, limit)
    }

    fn answer(&mut self, question: &Question, offset: u64, limit: u32) -> Result<(Duration, Window)> {
        self.asked += 1;
        let ask = ClientFrame::Ask { ask: self.asked, question: question.clone(), offset, limit, seen: None };
        let text = serde_json::to_string(&ask).context("write a question")?;
        let began = Instant::now();
        self.socket.send(Message::text(text)).context("ask a question")?;
        let mut shown = None;
        loop {
            match self.frame()? {
                (at, ServerFrame::Window { ask, total, rows, examined, .. }) if ask == self.asked => {
                    if !rows.is_empty() || examined.is_none() {
                        shown.get_or_insert(at - began);
                    }
                    if let (Some(shown), None) = (shown, examined) {
                        return Ok((shown, Window { total, rows, took: at - began }));
                    }
                }
                (_, ServerFrame::Refused { detail }) => bail!("ask a question: {detail}"),
                _ => {}
            }
        }
    }

    /// Reads on in the background until stopped, and hands each frame over.
    pub(crate) fn follow<T: Send + 'static>(
        mut self,
        mut seen: T,
        mut note: impl FnMut(&mut T, Instant, ServerFrame) + Send + 'static,
    ) -> Following<T> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let (at, frame) = self.frame()?;
                note(&mut seen, at, frame);
            }
            Ok(seen)
        });
        Following { stop, thread }
    }
}

/// A viewer that reads on in the background.
#[derive(Debug)]
pub(crate) struct Following<T> {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<T>>,
}

impl<T> Following<T> {
    /// Stops with the next frame, which is at most a second away.
    pub(crate) fn stop(self) -> Result<T> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(seen) => seen,
            Err(_) => bail!("go on viewing: the viewer panicked"),
        }
    }
}
