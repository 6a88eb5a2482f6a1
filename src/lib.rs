//! imgplan: Terraform for container images.

pub mod api;
pub mod base;
pub mod cli;
pub mod context;
pub mod dockerfile;
pub mod event;
pub mod manifest;
pub mod plan;
pub mod report;
pub mod run;
pub mod server;
pub mod state;
pub mod survey;
