//! imgplan: Terraform for container images.

pub mod api;
pub mod base;
pub mod context;
pub mod dockerfile;
