use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Something else where a Redis should be: it answers everything as a web server answers nonsense. Ends with the value.
#[derive(Debug)]
pub struct Impostor {
    port: u16,
    task: JoinHandle<()>,
}

impl Impostor {
    /// Starts one.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub async fn start() -> Impostor {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = [0; 1024];
                if stream.read(&mut buffer).await.is_ok() {
                    // The other end may be gone, which is the point.
                    let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
                }
            }
        });
        Impostor { port, task }
    }

    /// Its port on this machine.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.task.abort();
    }
}
