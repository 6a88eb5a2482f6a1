//! The client of the service.
//!
//! `endpoint` resolves the URL and API key. `client`, `images`, `logs`, `updates` and `upload` have
//! one method per endpoint of the API. `call` sends their requests: each waits in the `rate_limiter`,
//! goes over a [`Transport`](crate::http::Transport), and is read by `response`; `retry` decides
//! about failures. `poll`, `inventory` and `recover` combine several requests.

mod call;
pub(crate) mod client;
pub(crate) mod endpoint;
mod error;
mod gate;
mod images;
pub(crate) mod inventory;
pub(crate) mod logs;
pub(crate) mod poll;
pub(crate) mod rate_limiter;
pub(crate) mod recover;
mod redirect;
pub(crate) mod response;
pub(crate) mod retry;
mod updates;
mod upload;
mod window;
pub(crate) mod wire;

pub(crate) use client::{Client, TransferRefusal};
pub(crate) use endpoint::{ALLOW_URL_VARIABLE, Endpoint};
pub(crate) use error::{ApiError, ErrorKind};
pub(crate) use gate::Gate;
pub(crate) use inventory::name_without_owner;
pub(crate) use inventory::{Inventory, RemoteImage, RemoteImageState, list_images};
pub(crate) use rate_limiter::{Permit, RateLimiter};
pub(crate) use response::{AcceptedBuild, BuildProgress, RefusedSource, RemoteBuild};
pub(crate) use retry::{Attempts, Repeat};
pub(crate) use updates::UPDATES_PER_REQUEST;
pub(crate) use updates::UpdatedImage;
