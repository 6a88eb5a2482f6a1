//! The client of the images API: [`endpoint`] says where and as whom, [`client`] has one method an
//! endpoint, each of which passes the [`gate`]; what comes back is read by [`answer`].

pub mod answer;
pub mod client;
pub mod endpoint;
pub mod error;
pub mod gate;
pub mod retry;
mod upload;
pub mod window;
pub mod wire;

pub use answer::{Accepted, BuildView, Progress, Refused};
pub use client::Client;
pub use endpoint::Endpoint;
pub use error::{ApiError, ErrorKind};
pub use gate::Gate;
