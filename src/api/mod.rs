//! The client of the service.
//!
//! [`endpoint`] resolves the URL and API key. [`client`] has one method per endpoint of the API; each
//! call waits in the [`rate_limiter`] and is sent over a [`transport`](crate::http::transport). Responses
//! are read by [`response`], and [`retry`] decides about failures.

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
