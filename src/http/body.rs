//! Reads response bodies within limits of size and time.

use std::time::Duration;

use reqwest::Response;
use tokio::time::{Instant, timeout_at};

use super::coding::{self, CodingError};
use super::transport::TransportError;

/// Limits for reading one response body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Maximum size in bytes, both as sent and decoded.
    pub max_bytes: usize,
    /// Maximum time without any data.
    pub max_silence: Duration,
    /// Time by which the whole body must have arrived.
    pub deadline: Instant,
}

/// A body that could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// The body is larger than [`BodyLimits::max_bytes`].
    TooLarge,
    /// No data arrived for [`BodyLimits::max_silence`].
    Silent,
    /// The body was incomplete at [`BodyLimits::deadline`].
    TimedOut,
    /// The connection failed.
    Broken(TransportError),
    /// The body has a content coding that cannot be undone; the cause.
    Coded(String),
}

impl From<CodingError> for BodyError {
    fn from(error: CodingError) -> Self {
        match error {
            CodingError::TooLarge => Self::TooLarge,
            CodingError::Unreadable(cause) => Self::Coded(cause),
        }
    }
}

/// Reads a response body to its end into `body`, which is empty, and undoes its content coding.
///
/// # Errors
///
/// Fails if the body exceeds one of the `limits`, the connection breaks, or the content coding cannot
/// be undone. Except for the last, `body` then holds the data received so far.
pub(crate) async fn read_body(
    mut response: Response,
    limits: BodyLimits,
    body: &mut Vec<u8>,
) -> Result<(), BodyError> {
    loop {
        let until = limits.deadline.min(Instant::now() + limits.max_silence);
        match timeout_at(until, response.chunk()).await {
            Ok(Ok(Some(chunk))) if body.len() + chunk.len() <= limits.max_bytes => {
                body.extend_from_slice(&chunk);
            }
            Ok(Ok(Some(_))) => return Err(BodyError::TooLarge),
            Ok(Ok(None)) => {
                let decoded = coding::decode(response.headers(), body, limits.max_bytes);
                return decoded.map_err(BodyError::from);
            }
            Ok(Err(error)) => return Err(BodyError::Broken(error.into())),
            Err(_) if until == limits.deadline => return Err(BodyError::TimedOut),
            Err(_) => return Err(BodyError::Silent),
        }
    }
}

/// Returns JSON text without a byte order mark, which a reader may ignore (RFC 8259, section 8.1).
pub(crate) fn without_byte_order_mark(json: &[u8]) -> &[u8] {
    json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json)
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeServer, Reply};
    use super::super::transport::Transport;
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn limits_of_size_and_time_are_kept() {
        let text = |length: usize| Reply::new(200, "x".repeat(length));
        for (reply, expected, received, after) in [
            (text(0), Ok(()), 0, 0),
            (text(10), Ok(()), 10, 0),
            (text(11), Err(BodyError::TooLarge), 0, 0),
            (Reply::Trickle(2 * SEC), Err(BodyError::TimedOut), 4, 9),
            (Reply::Trickle(4 * SEC), Err(BodyError::Silent), 0, 3),
        ] {
            let server = FakeServer::script([reply.clone()]);
            let url = reqwest::Url::parse("https://fake/").unwrap();
            let request = reqwest::Request::new(reqwest::Method::GET, url);
            let response = server.send(request).await.unwrap();
            let start = Instant::now();
            let deadline = start + 9 * SEC;
            let limits = BodyLimits { max_bytes: 10, max_silence: 3 * SEC, deadline };
            let mut body = Vec::new();
            assert_eq!(read_body(response, limits, &mut body).await, expected, "{reply:?}");
            assert_eq!((body.len(), start.elapsed().as_secs()), (received, after), "{reply:?}");
        }
    }
}
