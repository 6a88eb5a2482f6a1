//! The client of the images API: [`endpoint`] says where and as whom, [`client`] has one method an
//! endpoint, each of which passes the [`rate_limiter`] and takes a [`transport`](crate::http::transport); what comes back is read by
//! [`response`], and what fails is judged by [`retry`]. Waits are reported as [`Notice`](crate::http::Notice)s.

mod call;
pub mod client;
pub mod endpoint;
pub mod error;
mod images;
pub mod inventory;
pub mod poll;
pub mod rate_limiter;
pub mod recover;
mod redirect;
pub mod response;
pub mod retry;
mod updates;
mod upload;
pub mod window;
pub mod wire;

pub use crate::http::transport::{Transport, TransportError};
pub use client::Client;
pub use endpoint::Endpoint;
pub use error::{ApiError, ErrorKind};
pub use images::ImagesPage;
pub(crate) use inventory::name_without_owner;
pub use inventory::{Inventory, RemoteImage, RemoteImageState, list_images};
pub use poll::PollState;
pub use rate_limiter::{Permit, RateLimiter};
pub use response::{AcceptedBuild, BuildProgress, ImageRow, RefusedSource, RemoteBuild};
pub use retry::{Attempts, Repeat, RetryDecision};
pub(crate) use updates::UPDATES_PER_REQUEST;
pub use updates::UpdatedImage;
