//! The client of the service.
//!
//! `endpoint` resolves the URL and API key. `client`, `images`, `updates` and `upload` have one method
//! per endpoint of the API. `call` sends their requests: each waits in the `rate_limiter`, goes over a
//! [`Transport`], and is read by `response`; `retry` decides about failures. `poll`, `inventory` and
//! `recover` combine several requests.

mod call;
pub(crate) mod client;
mod endpoint;
mod error;
mod images;
mod inventory;
pub(crate) mod poll;
mod rate_limiter;
pub(crate) mod recover;
mod redirect;
mod response;
mod retry;
mod updates;
mod upload;
mod window;
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
