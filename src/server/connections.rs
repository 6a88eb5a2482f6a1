//! Accepts connections: so many that file descriptors are left for uploads, and each as long as
//! something moves on it.
//!
//! While all places but the one for the next connection are taken, the server is full: a connection
//! keeps its place only if it moves at least
//! [`MIN_BYTES_PER_WINDOW_IF_FULL`] in each [`PROGRESS_WINDOW`], so that peers that send a byte now and
//! then cannot keep out everyone else. The bytes of both directions count, whatever part of a request
//! they belong to, because this module does not know where a request begins. Headers have no deadline
//! of their own: hyper accepts about 400 KiB of them, which take at most 7 minutes at this rate. A full
//! server also closes the connection of a request that the server itself needs more than
//! [`MAX_IDLE_IF_FULL`] for. While there are free places, a slow peer keeps its connection.

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

use super::descriptors::DESCRIPTOR_PAUSE;
use crate::base::open_files::max_open_files;

/// Time without a byte in either direction after which a connection is closed.
const MAX_IDLE: Duration = Duration::from_secs(60);

/// The same on a full server.
const MAX_IDLE_IF_FULL: Duration = Duration::from_secs(5);

/// Period in which the progress of a connection is measured.
const PROGRESS_WINDOW: Duration = Duration::from_secs(10);

/// Minimum number of bytes that a connection moves in a [`PROGRESS_WINDOW`] on a full server: 1 KiB a
/// second, less than the slowest line for an upload.
const MIN_BYTES_PER_WINDOW_IF_FULL: usize = 10 << 10;

/// File descriptors of the server itself: about 16 for its runtime, listener and state, and one for
/// each archive that a build reads.
const OWN_DESCRIPTORS: usize = 32;

/// Descriptors of a connection: its socket, and two of the file that it uploads.
const DESCRIPTORS_PER_CONNECTION: usize = 3;

/// Minimum number of connections, however low the limit of file descriptors is.
const MIN_CONNECTIONS: usize = 2;

/// Maximum number of connections, if the limit of file descriptors allows as many.
const MAX_CONNECTIONS: usize = 1024;

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

/// Returns the number of connections for which there are file descriptors.
fn max_connections() -> usize {
    let files = max_open_files().and_then(|files| usize::try_from(files).ok());
    connections_for(files.unwrap_or(usize::MAX))
}

/// Returns the number of connections of a server that may open `descriptors` files.
fn connections_for(descriptors: usize) -> usize {
    let places = descriptors.saturating_sub(OWN_DESCRIPTORS) / DESCRIPTORS_PER_CONNECTION;
    places.clamp(MIN_CONNECTIONS, MAX_CONNECTIONS)
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
                // Such as too many open files.
                Err(_) => sleep(DESCRIPTOR_PAUSE).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that fails if nothing moves on it for [`MAX_IDLE`], or too little on a full server.
pub(super) struct ServedConnection {
    stream: TcpStream,
    moved_at: Instant,
    window_start: Instant,
    /// Number of bytes read and written since `window_start`.
    window_bytes: usize,
    check: Pin<Box<Sleep>>,
    free: Arc<Semaphore>,
    _slot: OwnedSemaphorePermit,
}

impl ServedConnection {
    fn new(stream: TcpStream, free: Arc<Semaphore>, slot: OwnedSemaphorePermit) -> Self {
        let check = Box::pin(sleep(MAX_IDLE_IF_FULL));
        let now = Instant::now();
        Self { stream, moved_at: now, window_start: now, window_bytes: 0, check, free, _slot: slot }
    }

    /// Returns the result of an operation, which is the number of bytes that it moved, or an error if
    /// too little moves.
    fn moved(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = result {
            self.moved_at = Instant::now();
            self.window_bytes += result.as_ref().copied().unwrap_or_default();
            return Poll::Ready(result);
        }
        loop {
            ready!(self.check.as_mut().poll(cx));
            if self.is_too_slow() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.check.as_mut().reset(Instant::now() + MAX_IDLE_IF_FULL);
        }
    }

    /// True if the connection has to give its place to another one. Begins a new window after the end
    /// of one.
    fn is_too_slow(&mut self) -> bool {
        let is_full = self.free.available_permits() == 0;
        let max_idle = if is_full { MAX_IDLE_IF_FULL } else { MAX_IDLE };
        let mut is_slow = false;
        if self.window_start.elapsed() >= PROGRESS_WINDOW {
            is_slow = is_full && self.window_bytes < MIN_BYTES_PER_WINDOW_IF_FULL;
            (self.window_start, self.window_bytes) = (Instant::now(), 0);
        }
        is_slow || self.moved_at.elapsed() >= max_idle
    }
}

impl AsyncRead for ServedConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let count = result.map_ok(|()| buffer.filled().len() - before);
        self.moved(cx, count).map_ok(drop)
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

    /// Sends `bytes` from the client every `period`, and returns the time until the server closes the
    /// connection, or `None` if it lasts for ten minutes.
    async fn lifetime(connections: usize, bytes: usize, period: Duration) -> Option<Duration> {
        let (mut listener, addr) = listener(connections).await;
        let mut client = TcpStream::connect(addr).await.unwrap();
        let (mut server, _) = listener.accept().await;
        tokio::time::pause();
        let start = Instant::now();
        let mut buffer = vec![0; bytes];
        let mut end = None;
        while end.is_none() && start.elapsed() < Duration::from_secs(600) {
            client.write_all(&buffer).await.unwrap();
            let silence = Instant::now() + period;
            // The clock stands still until the bytes have crossed the loopback device.
            tokio::time::resume();
            server.read_exact(&mut buffer).await.unwrap();
            tokio::time::pause();
            if let Ok(read) = tokio::time::timeout_at(silence, server.read(&mut [0])).await {
                assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
                end = Some(start.elapsed());
            }
        }
        tokio::time::resume();
        end
    }

    #[tokio::test]
    async fn a_peer_that_drips_keeps_its_place_only_if_there_are_others() {
        let (drip, period) = (1, Duration::from_secs(4));
        assert_eq!(lifetime(2, drip, period).await, None);
        let end = lifetime(1, drip, period).await.unwrap();
        assert!(end < PROGRESS_WINDOW + MAX_IDLE_IF_FULL * 2, "{end:?}");
    }

    #[tokio::test]
    async fn a_slow_upload_keeps_its_place_on_a_full_server() {
        assert_eq!(lifetime(1, 2 << 10, Duration::from_secs(1)).await, None);
    }

    #[test]
    fn descriptors_are_left_for_the_server_itself() {
        for (descriptors, connections) in [(128, 32), (20, 2), (1024, 330), (usize::MAX, 1024)] {
            assert_eq!(connections_for(descriptors), connections);
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
