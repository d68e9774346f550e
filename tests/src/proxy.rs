use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

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

/// Freezes the network when certain bytes go out.
#[derive(Debug)]
struct Trap {
    set: Mutex<Option<(Vec<u8>, Caught)>>,
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
        let trap = Arc::new(Trap { set: Mutex::default(), mode: mode.clone() });
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
        let (_, caught) = set.take_if(|(wanted, _)| bytes.windows(wanted.len()).any(|part| part == wanted))?;
        // Before they arrive, so that no answer to them gets through.
        self.mode.send_replace(Mode::Frozen);
        Some(caught)
    }
}

async fn connect(inside: TcpStream, port: u16, mut mode: watch::Receiver<Mode>, trap: Arc<Trap>) {
    if *mode.borrow() == Mode::Cut {
        return;
    }
    let Ok(outside) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (inside_read, inside_write) = inside.into_split();
    let (outside_read, outside_write) = outside.into_split();
    let there = copy(inside_read, outside_write, mode.clone(), Some(&trap));
    let back = copy(outside_read, inside_write, mode.clone(), None);
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
    trap: Option<&Trap>,
) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(read) = from.read(&mut buffer).await {
        let through = match trap.and_then(|trap| trap.springs(&buffer[..read])) {
            Some(Caught::Delivered) => true,
            // Not even when the network is mended: then they would arrive after what they should have come before.
            Some(Caught::OnTheWay) => std::future::pending().await,
            None => mode.wait_for(|mode| *mode == Mode::Passes).await.is_ok(),
        };
        if read == 0 || !through || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
