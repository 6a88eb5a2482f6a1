//! The client of the images API: [`endpoint`] says where and as whom, [`client`] has one method an
//! endpoint, each of which passes the [`gate`] and takes a [`transport`](crate::http::transport); what comes back is read by
//! [`response`], and what fails is judged by [`retry`]. Waits are reported as [`Notice`](crate::http::Notice)s.

mod call;
pub mod client;
pub mod endpoint;
pub mod error;
pub mod gate;
mod images;
pub mod inventory;
pub mod poll;
mod recover;
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
pub use gate::{Gate, Permit};
pub use images::ImagesPage;
pub(crate) use inventory::bare;
pub use inventory::{Image, ImageState, Inventory, inventory};
pub use poll::Listing;
pub use response::{Accepted, BuildView, ImageView, Progress, Refused};
pub use retry::{Repeat, Tries, Verdict};
pub(crate) use updates::UPDATES_PER_REQUEST;
pub use updates::Updated;
