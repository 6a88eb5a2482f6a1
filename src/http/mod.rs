//! HTTP for both clients: transport, body reader, headers, backoff and the sliding window.
//! [`api`](crate::api) and [`registry`](crate::registry) build on it.

pub mod backoff;
pub mod body;
#[cfg(test)]
pub(crate) mod fake;
pub mod header;
pub mod loopback;
pub mod notice;
pub mod transport;
pub mod window;

pub use notice::{Notice, Observer, ObserverRef};
pub use transport::{Transport, TransportError};
