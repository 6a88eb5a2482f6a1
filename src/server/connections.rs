//! Accepts connections: so many that file descriptors are left for uploads, and each as long as
//! something moves on it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Time without a byte in either direction after which a connection is closed.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// The same while another connection waits for a free place.
const MAX_IDLE_IF_FULL: Duration = Duration::from_secs(5);

/// Maximum number of connections, if the limit of file descriptors allows as many.
const MAX_CONNECTIONS: usize = 1024;

/// Pause after an error of the operating system, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener that waits while all connections are taken.
pub(super) struct BoundedListener {
    listener: TcpListener,
    free: Arc<Semaphore>,
}

impl BoundedListener {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, free: Arc::new(Semaphore::new(max_connections())) }
    }
}

/// Returns the number of connections for which there are file descriptors: each may have a file open.
fn max_connections() -> usize {
    #[cfg(unix)]
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    #[cfg(not(unix))]
    let files = None;
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    (files / 3).clamp(8, MAX_CONNECTIONS)
}

impl Listener for BoundedListener {
    type Io = ServedConnection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (ServedConnection, SocketAddr) {
        loop {
            // The semaphore is never closed.
            let Ok(slot) = Arc::clone(&self.free).acquire_owned().await else { continue };
            match self.listener.accept().await {
                Ok((stream, addr)) => {
                    let free = Arc::clone(&self.free);
                    return (ServedConnection::new(stream, free, slot), addr);
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails if nothing moves on it for [`MAX_IDLE`].
pub(super) struct ServedConnection {
    stream: TcpStream,
    moved_at: Instant,
    check: Pin<Box<Sleep>>,
    free: Arc<Semaphore>,
    _slot: OwnedSemaphorePermit,
}

impl ServedConnection {
    fn new(stream: TcpStream, free: Arc<Semaphore>, slot: OwnedSemaphorePermit) -> Self {
        let check = Box::pin(sleep(MAX_IDLE_IF_FULL));
        Self { stream, moved_at: Instant::now(), check, free, _slot: slot }
    }

    /// Returns the result of an operation, or an error if it waits for too long.
    fn moved<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.moved_at = Instant::now();
            return result;
        }
        loop {
            ready!(self.check.as_mut().poll(cx));
            let is_full = self.free.available_permits() == 0;
            let max_idle = if is_full { MAX_IDLE_IF_FULL } else { MAX_IDLE };
            if self.moved_at.elapsed() >= max_idle {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.check.as_mut().reset(Instant::now() + MAX_IDLE_IF_FULL);
        }
    }
}

impl AsyncRead for ServedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.moved(cx, result)
    }
}

impl AsyncWrite for ServedConnection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.moved(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.moved(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn listener(connections: usize) -> (BoundedListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        (BoundedListener { listener, free: Arc::new(Semaphore::new(connections)) }, addr)
    }

    #[tokio::test]
    async fn a_connection_ends_if_nothing_moves() {
        for (connections, seconds) in [(2, 60), (1, 5)] {
            let (mut listener, addr) = listener(connections).await;
            let mut client = TcpStream::connect(addr).await.unwrap();
            let (mut server, _) = listener.accept().await;
            client.write_all(b"GET /").await.unwrap();
            let mut bytes = [0; 5];
            server.read_exact(&mut bytes).await.unwrap();
            tokio::time::pause();
            let start = Instant::now();
            let error = server.read(&mut bytes).await.unwrap_err();
            let waited = start.elapsed().as_secs();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!((seconds..seconds + 6).contains(&waited), "{waited}");
            tokio::time::resume();
        }
    }

    #[tokio::test]
    async fn connections_wait_for_one_another() {
        let (mut listener, addr) = listener(1).await;
        let _clients =
            [TcpStream::connect(addr).await.unwrap(), TcpStream::connect(addr).await.unwrap()];
        let (first, _) = listener.accept().await;
        let waiting = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(waiting.is_err(), "the second one waits");
        drop(first);
        let _ = listener.accept().await;
    }
}
