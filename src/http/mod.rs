//! HTTP for both clients: transport, body reader, headers, backoff and the sliding window.
//! [`api`](crate::api) and [`registry`](crate::registry) build on it.

pub(crate) mod backoff;
pub(crate) mod body;
mod coding;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod header;
pub(crate) mod loopback;
pub(crate) mod notice;
pub(crate) mod stall;
pub(crate) mod target;
pub(crate) mod transport;
pub(crate) mod window;

pub(crate) use notice::Notice;
pub(crate) use transport::{Transport, TransportError};
