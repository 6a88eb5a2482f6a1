//! imgplan: Terraform for container images.

pub mod api;
pub mod base;
pub mod dockerfile;
pub mod server;
