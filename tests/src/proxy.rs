use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

const BUFFER_BYTES: usize = 16 * 1024;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Passes,
    /// Connections stay open and nothing gets through.
    Frozen,
    /// Connections end, and new ones are closed at once.
    Cut,
}

/// A network between two programs that can be broken and mended. Ends with the value.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    trap: Arc<Trap>,
    task: JoinHandle<()>,
}

/// Freezes the network, or makes one connection of it slow, when certain bytes go out.
#[derive(Debug)]
struct Trap {
    set: Mutex<Option<(Vec<u8>, Caught)>>,
    slow: Mutex<Option<(Vec<u8>, Duration)>>,
    mode: watch::Sender<Mode>,
}

/// Where the bytes are that a network froze at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caught {
    /// They did not arrive.
    OnTheWay,
    /// They arrived, and no answer comes back.
    Delivered,
}

impl Proxy {
    /// A network that leads to this port of this machine.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mode, watching) = watch::channel(Mode::Passes);
        let trap = Arc::new(Trap { set: Mutex::default(), slow: Mutex::default(), mode: mode.clone() });
        let armed = Arc::clone(&trap);
        let task = tokio::spawn(async move {
            while let Ok((inside, _)) = listener.accept().await {
                tokio::spawn(connect(inside, port, watching.clone(), Arc::clone(&armed)));
            }
        });
        Proxy { address, mode, trap, task }
    }

    /// The near end.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends every connection and refuses new ones.
    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    /// Lets nothing through, and leaves connections open.
    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    /// Lets nothing through any more as soon as somebody sends these bytes.
    ///
    /// # Panics
    /// Never while nobody else did.
    pub fn freeze_at(&self, bytes: &[u8], caught: Caught) {
        *self.trap.set.lock().unwrap() = Some((bytes.to_vec(), caught));
    }

    /// Delivers these bytes to whoever they are sent to first, and lets what comes back on the same connection wait for so
    /// long.
    ///
    /// # Panics
    /// Never while nobody else did.
    pub fn answer_late(&self, bytes: &[u8], by: Duration) {
        *self.trap.slow.lock().unwrap() = Some((bytes.to_vec(), by));
    }

    /// Whether somebody has sent the bytes that are to be answered late.
    ///
    /// # Panics
    /// Never while nobody else did.
    #[must_use]
    pub fn is_answering_late(&self) -> bool {
        self.trap.slow.lock().unwrap().is_none()
    }

    /// Waits until nothing gets through.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn frozen(&self) {
        let mut mode = self.mode.subscribe();
        let frozen = mode.wait_for(|mode| *mode == Mode::Frozen);
        assert!(tokio::time::timeout(crate::DEADLINE, frozen).await.is_ok(), "the bytes never came");
    }

    /// Mends it.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Passes);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mode.send_replace(Mode::Cut);
        self.task.abort();
    }
}

impl Trap {
    /// Freezes the network if these are the bytes, and says where they are.
    fn springs(&self, bytes: &[u8]) -> Option<Caught> {
        let mut set = self.set.lock().unwrap();
        let (_, caught) = set.take_if(|(wanted, _)| is_in(bytes, wanted))?;
        // Before they arrive, so that no answer to them gets through.
        self.mode.send_replace(Mode::Frozen);
        Some(caught)
    }

    /// By how long the answer to these bytes is to be late.
    fn delays(&self, bytes: &[u8]) -> Option<Duration> {
        let mut slow = self.slow.lock().unwrap();
        slow.take_if(|(wanted, _)| is_in(bytes, wanted)).map(|(_, by)| by)
    }
}

fn is_in(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|part| part == wanted)
}

/// One way of one connection.
#[derive(Clone, Copy)]
enum Way<'a> {
    There { trap: &'a Trap, late: &'a Late },
    Back { late: &'a Late },
}

/// Until when nothing comes back.
type Late = Mutex<Option<Instant>>;

async fn connect(inside: TcpStream, port: u16, mut mode: watch::Receiver<Mode>, trap: Arc<Trap>) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(outside) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (inside_read, inside_write) = inside.into_split();
    let (outside_read, outside_write) = outside.into_split();
    let late = Late::default();
    let there = copy(inside_read, outside_write, mode.clone(), Way::There { trap: &trap, late: &late });
    let back = copy(outside_read, inside_write, mode.clone(), Way::Back { late: &late });
    tokio::select! {
        () = there => {}
        () = back => {}
        _ = mode.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
    way: Way<'_>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(read) = from.read(&mut buffer).await {
        let bytes = &buffer[..read];
        let caught = match way {
            Way::There { trap, late } => {
                if let Some(by) = trap.delays(bytes) {
                    *late.lock().unwrap() = Some(Instant::now() + by);
                }
                trap.springs(bytes)
            }
            Way::Back { late } => {
                let until = late.lock().unwrap().take();
                if let Some(until) = until {
                    sleep_until(until).await;
                }
                None
            }
        };
        let through = match caught {
            Some(Caught::Delivered) => true,
            // Not even when the network is mended: then they would arrive after what they should have come before.
            Some(Caught::OnTheWay) => std::future::pending().await,
            None => mode.wait_for(|mode| *mode == Mode::Passes).await.is_ok(),
        };
        if read == 0 || !through || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
